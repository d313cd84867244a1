"""Fresh tenant tokens for one run: hand an instance to the SDK as its `api_key`."""

import json
import time
from urllib.parse import urlencode
from urllib.request import Request, urlopen


class TenantTokens:
    def __init__(self, control_url: str, service: str, run_grant: str) -> None:
        self.url, self.service, self.run_grant = f"{control_url}/oauth/token", service, run_grant
        self.token, self.renew_at = "", 0.0

    def __call__(self) -> str:
        if time.time() >= self.renew_at:
            form = {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token_type": "urn:bulkhead:params:oauth:token-type:run-grant",
                "subject_token": self.run_grant,
            }
            request = Request(self.url, urlencode(form).encode())
            request.add_header("Authorization", f"Bearer {self.service}")
            with urlopen(request, timeout=10) as response:
                answer = json.load(response)
            self.token = answer["access_token"]
            self.renew_at = time.time() + answer["expires_in"] * 0.8
        return self.token
