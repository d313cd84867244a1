//! Which test must catch which bug.

/// A bug that can be switched on, and the test that must then fail.
pub(super) struct Bug {
    /// The name in `ids::planted::is("…")`.
    pub(super) name: &'static str,
    /// The package with the test, which may stand above the one with the bug.
    pub(super) package: &'static str,
    /// `lib` for a unit test, or the name of the integration test's binary.
    pub(super) target: &'static str,
    /// The test's whole path in that binary.
    pub(super) test: &'static str,
}

const fn bug(
    name: &'static str,
    package: &'static str,
    target: &'static str,
    test: &'static str,
) -> Bug {
    Bug { name, package, target, test }
}

/// One line a bug; a bug that several tests must catch stands here several times.
#[rustfmt::skip]
pub(super) const BUGS: &[Bug] = &[
    bug("token-by-prefix", "bulkhead-scope", "it", "it::tokens::token_prefix"),
    bug("token-by-prefix", "bulkhead-server", "it", "it::incidents::token_prefix"),
    bug("scope-lost-in-spawn", "bulkhead-scope", "it", "it::scopes::a_spawned_task_keeps_its_scope"),
    bug("mandate-twice", "bulkhead-scope", "it", "it::mandates::a_hundred_redeem_one_wins"),
    bug("directory-spend-twice", "bulkhead-directory", "it", "it::doors::a_mandate_is_redeemed_once_whatever_restarts_lie_between"),

    bug("store-view-ignores-partition", "bulkhead-store", "it", "it::isolation::one_key_has_a_value_for_each_tenant_and_environment"),
    bug("store-row-unchecked", "bulkhead-store", "it", "it::isolation::a_row_under_the_wrong_partition_is_withheld_and_counted"),
    bug("store-failed-write-kept", "bulkhead-store", "it", "it::writes::a_write_that_fails_is_undone_and_others_are_kept"),
    bug("store-lanes-shared", "bulkhead-store", "lib", "sqlite::lanes::tests::a_flood_does_not_delay_a_single_write"),
    bug("store-erase-keeps-log", "bulkhead-store", "it", "it::erase::an_erasure_leaves_no_bytes_in_the_files"),
    bug("store-erase-keeps-moved", "bulkhead-store", "it", "it::erase::an_erasure_leaves_no_bytes_in_the_files"),
    bug("vault-aad-without-tenant", "bulkhead-vault", "it", "it::seal::bytes_open_for_their_owner_in_their_place_and_nowhere_else"),

    bug("audit-entry-skipped", "bulkhead-records", "it", "it::audit::what_was_accepted_is_there_in_order_and_verifies"),
    bug("records-list-unscoped", "bulkhead-records", "it", "it::events::an_event_arrives_whole_and_only_where_it_belongs"),

    bug("cache-key-without-tenant", "bulkhead-cache", "it", "it::keys::the_same_request_of_another_scope_has_another_key"),
    bug("cache-key-without-environment", "bulkhead-cache", "it", "it::keys::the_same_request_of_another_scope_has_another_key"),
    bug("cache-key-unframed", "bulkhead-cache", "lib", "key::tests::no_byte_moves_to_a_neighbour"),
    bug("cache-value-unsealed", "bulkhead-cache", "it", "it::desync::redis_desync"),
    bug("cache-caller-namespace", "bulkhead-cache", "it", "it::keys::a_caller_that_names_a_namespace_stays_on_its_own_shelf"),
    bug("cache-caller-namespace", "bulkhead-model", "it", "it::caching::caller_namespace"),
    bug("flight-across-tenants", "bulkhead-cache", "lib", "flight::tests::two_shelves_share_no_flight_even_if_their_keys_collide"),

    bug("gate-cedar-error-allows", "bulkhead-gate", "it", "it::policies::a_policy_that_cannot_be_evaluated_is_a_denial"),
    bug("gate-decision-cache-without-tenant", "bulkhead-gate", "it", "it::remembering::a_decision_is_nobody_elses"),

    bug("pool-across-tenants", "bulkhead-model", "it", "it::passing::connections_are_reused_in_one_partition_and_one_credential_only"),
    bug("pool-across-tenants", "bulkhead-server", "it", "it::two_tenants::nothing_of_one_shows_up_with_another"),
    bug("incomplete-stream-kept", "bulkhead-model", "it", "it::streams::broken_streams_end_with_an_error_and_are_not_kept"),
    bug("stream-outlives-revocation", "bulkhead-model", "it", "it::streams::revocation_ends_a_stream_in_flight"),
    bug("stream-outlives-revocation", "bulkhead-server", "it", "it::revocation::by_token_lineage_grant_key_epoch_and_suspension"),
    bug("upstream-error-unscrubbed", "bulkhead-model", "it", "it::faults::errors_are_passed_on_without_credentials"),
    bug("upstream-error-unscrubbed", "bulkhead-server", "it", "it::two_tenants::nothing_of_one_shows_up_with_another"),

    bug("server-ignores-tenant-header", "bulkhead-server", "it", "it::ambiguity::every_form_is_a_mismatch_and_is_recorded"),
    bug("server-ignores-tenant-header", "bulkhead-server", "it", "it::ratchet::every_route_against_every_wrong_credential"),
    bug("server-metrics-open", "bulkhead-server", "it", "it::incidents::admin_route"),
    bug("server-answers-cacheable", "bulkhead-server", "it", "it::incidents::shared_http_cache"),
    bug("server-request-id-from-caller", "bulkhead-server", "it", "it::incidents::caller_id"),
];
