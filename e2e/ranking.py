"""What a query must answer, worked out the long way: every point is looked at, and nothing of Bulkhead is used."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

MISSING = object()
Id = int | str


@dataclass
class Point:
    id: Id
    vector: list[float]
    payload: dict = field(default_factory=dict)

    def form(self) -> dict:
        """As it is upserted."""
        return {"id": self.id, "vector": self.vector, "payload": self.payload}


# Distances


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def score(distance: str, a: list[float], b: list[float]) -> float:
    """As Qdrant tells it: of Euclid and Manhattan, less is better."""
    match distance:
        case "Dot":
            return dot(a, b)
        case "Cosine":
            lengths = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
            return dot(a, b) / lengths if lengths else 0.0
        case "Euclid":
            return math.dist(a, b)
        case "Manhattan":
            return math.fsum(abs(x - y) for x, y in zip(a, b, strict=True))
    raise ValueError(distance)


def less_is_better(distance: str) -> bool:
    return distance in ("Euclid", "Manhattan")


def nearest(
    points: list[Point], query: list[float], distance: str = "Cosine", wanted: dict | None = None
) -> list[tuple[Id, float]]:
    """All that match, best first."""
    found = [
        (each.id, score(distance, query, each.vector)) for each in points if holds(wanted, each)
    ]
    return sorted(found, key=lambda one: one[1], reverse=not less_is_better(distance))


# Fusion


def reciprocal(lists: list[list[Id]], k: int = 2, weights: list[float] | None = None) -> dict:
    """Reciprocal rank fusion, with Qdrant's constant and its way of weighing."""
    sums: dict[Id, float] = {}
    for ranked, weight in zip(lists, weights or [1.0] * len(lists), strict=True):
        for place, each in enumerate(ranked):
            sums[each] = sums.get(each, 0.0) + 1.0 / ((place + 1) / weight + k - 1)
    return sums


def by_distribution(lists: list[list[tuple[Id, float]]]) -> dict:
    """Distribution-based score fusion: scores within three deviations of the mean become 0 to 1."""
    sums: dict[Id, float] = {}
    for ranked in lists:
        scores = [each for _, each in ranked]
        mean = math.fsum(scores) / len(scores)
        rest = math.fsum((each - mean) ** 2 for each in scores)
        deviation = math.sqrt(rest / (len(scores) - 1)) if len(scores) > 1 else 0.0
        for one, each in ranked:
            placed = (each - mean + 3 * deviation) / (6 * deviation) if deviation else 0.5
            sums[one] = sums.get(one, 0.0) + placed
    return sums


def diverse(
    points: list[Point], query: list[float], diversity: float, limit: int, candidates: int
) -> list[Id]:
    """Maximal marginal relevance over the nearest candidates, by cosine."""
    vectors = {each.id: each.vector for each in points}
    left = nearest(points, query)[:candidates]
    chosen = [left.pop(0)[0]]
    while left and len(chosen) < limit:

        def worth(one: tuple[Id, float]) -> float:
            like = max(score("Cosine", vectors[one[0]], vectors[each]) for each in chosen)
            return (1 - diversity) * one[1] - diversity * like

        best = max(left, key=worth)
        left.remove(best)
        chosen.append(best[0])
    return chosen


# Filters


def values(payload: object, path: str) -> list:
    """What stands at a path. Arrays are gone through; one at the end is its elements."""
    here = [payload]
    for step in path.split("."):
        name = step.removesuffix("[]")
        here = [each.get(name, MISSING) for each in here if isinstance(each, dict)]
        here = [each for each in here if each is not MISSING]
        flat = []
        for each in here:
            flat.extend(each if isinstance(each, list) else [each])
        here = flat
    return here


def raw(payload: dict, name: str) -> object:
    return payload.get(name, MISSING)


def listed(part: object) -> list:
    if part is None:
        return []
    return part if isinstance(part, list) else [part]


def holds(wanted: dict | None, point: Point) -> bool:
    if wanted is None:
        return True
    must, should = listed(wanted.get("must")), listed(wanted.get("should"))
    if not all(condition(each, point) for each in must):
        return False
    if should and not any(condition(each, point) for each in should):
        return False
    if any(condition(each, point) for each in listed(wanted.get("must_not"))):
        return False
    least = wanted.get("min_should")
    if least is None:
        return True
    return sum(condition(each, point) for each in least["conditions"]) >= least["min_count"]


def condition(wanted: dict, point: Point) -> bool:
    if "has_id" in wanted:
        return point.id in wanted["has_id"]
    if isinstance(wanted.get("is_empty"), dict):
        return raw(point.payload, wanted["is_empty"]["key"]) in (MISSING, None, [])
    if isinstance(wanted.get("is_null"), dict):
        return raw(point.payload, wanted["is_null"]["key"]) is None
    if "nested" in wanted:
        inner = wanted["nested"]
        elements = values(point.payload, inner["key"])
        return any(holds(inner["filter"], Point(point.id, [], each)) for each in elements)
    if "key" not in wanted:
        return holds(wanted, point)
    found = values(point.payload, wanted["key"])
    if "match" in wanted:
        return any(match(wanted["match"], each) for each in found)
    if "range" in wanted:
        return any(within(wanted["range"], each) for each in found)
    if "values_count" in wanted:
        return within(wanted["values_count"], len(found))
    raise ValueError(wanted)


def match(wanted: dict, value: object) -> bool:
    if "value" in wanted:
        return same(wanted["value"], value)
    if "any" in wanted:
        return any(same(each, value) for each in wanted["any"])
    if "except" in wanted:
        return not any(same(each, value) for each in wanted["except"])
    if "text" in wanted:
        return isinstance(value, str) and wanted["text"] in value
    raise ValueError(wanted)


def same(a: object, b: object) -> bool:
    return type(a) is type(b) and a == b


def within(bounds: dict, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return all(
        {"gt": value > each, "gte": value >= each, "lt": value < each, "lte": value <= each}[name]
        for name, each in bounds.items()
        if each is not None
    )
