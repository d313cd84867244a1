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
    bug("store-late-write-kept", "bulkhead-store", "it", "it::erase::an_erasure_leaves_others_alone_and_nothing_comes_after_it"),
    bug("vault-key-after-shredding", "bulkhead-vault", "it", "it::shred::a_unit_in_the_ledger_gets_no_key_again"),
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
    bug("cancelled-leader-loses-followers", "bulkhead-cache", "lib", "flight::tests::a_cancelled_leader_hands_over_to_one"),
    bug("state-key-without-workflow", "bulkhead-cache", "it", "it::state::one_key_has_a_value_for_each_tenant_environment_workflow_and_run"),
    bug("state-cas-outside-transaction", "bulkhead-cache", "it", "it::state::of_those_who_write_on_one_version_one_wins"),
    bug("state-removal-outlives-revocation", "bulkhead-cache", "it", "it::state::nothing_more_is_removed_by_who_was_revoked"),
    bug("semantic-index-across-tenants", "bulkhead-cache", "it", "it::semantic::anothers_partition_in_hand_finds_nothing"),
    bug("semantic-index-across-tenants", "bulkhead-cache", "lib", "semantic::tests::two_tenants_share_no_vectors_even_if_their_keys_collide"),
    bug("cache-older-comes-back", "bulkhead-cache", "lib", "memory::tests::the_newer_stays_whatever_comes_first"),

    bug("gate-cedar-error-allows", "bulkhead-gate", "it", "it::policies::a_policy_that_cannot_be_evaluated_is_a_denial"),
    bug("gate-decision-cache-without-tenant", "bulkhead-gate", "it", "it::remembering::a_decision_is_nobody_elses"),
    bug("gate-first-provider-only", "bulkhead-gate", "it", "it::policies::a_hop_to_several_providers_is_permitted_if_it_is_to_each"),

    bug("pool-across-tenants", "bulkhead-model", "it", "it::passing::connections_are_reused_in_one_partition_and_one_credential_only"),
    bug("pool-across-tenants", "bulkhead-model", "it", "it::retries::a_tenants_budget_runs_out_and_is_nobody_elses"),
    bug("pool-across-tenants", "bulkhead-server", "it", "it::two_tenants::nothing_of_one_shows_up_with_another"),
    bug("incomplete-stream-kept", "bulkhead-model", "it", "it::streams::broken_streams_end_with_an_error_and_are_not_kept"),
    bug("stream-outlives-revocation", "bulkhead-model", "it", "it::streams::revocation_ends_a_stream_in_flight"),
    bug("stream-outlives-revocation", "bulkhead-server", "it", "it::revocation::by_token_lineage_grant_key_epoch_and_suspension"),
    bug("upstream-error-unscrubbed", "bulkhead-model", "it", "it::faults::errors_are_passed_on_without_credentials"),
    bug("error-stored-in-cache", "bulkhead-model", "lib", "document::tests::only_whole_answers_are_fit_to_be_kept"),
    bug("error-stored-in-cache", "bulkhead-model", "it", "it::caching::what_is_not_a_whole_answer_is_not_kept"),
    bug("handle-claim-skipped-in-streams", "bulkhead-model", "lib", "relay::tests::no_handle_goes_out_unclaimed"),
    bug("upstream-error-unscrubbed", "bulkhead-server", "it", "it::two_tenants::nothing_of_one_shows_up_with_another"),
    bug("handle-check-skipped", "bulkhead-model", "it", "it::handles::nobody_names_what_is_anothers"),
    bug("handle-owner-ignored", "bulkhead-model", "it", "it::handles::the_first_claim_wins"),
    bug("handle-check-skipped", "bulkhead-model", "it", "it::citing::no_handle_of_anothers_is_named_anywhere"),
    bug("handle-check-skipped-in-streams", "bulkhead-model", "it", "it::citing::no_handle_of_anothers_is_named_anywhere"),
    bug("handle-leads-anywhere", "bulkhead-model", "it", "it::citing::a_handle_leads_to_the_provider_that_keeps_it"),
    bug("handle-claim-skipped-in-streams", "bulkhead-model", "it", "it::citing::what_a_call_made_is_its_tenants"),
    bug("batch-line-unjudged", "bulkhead-model", "it", "it::batches::a_line_that_may_not_be_is_named"),
    bug("batch-models-unasked", "bulkhead-server", "it", "it::batches::policies_and_grants_hold_for_each_line"),
    bug("salt-without-environment", "bulkhead-model", "lib", "salt::tests::a_mark_is_one_environments_at_one_provider"),
    bug("salt-without-environment", "bulkhead-model", "it", "it::kinds::marks_tell_scopes_apart_and_no_caller_chooses_them"),
    bug("own-account-opens-shared", "bulkhead-model", "it", "it::mallory::what_ones_own_account_gave_opens_no_shared_one"),
    bug("engine-is-ones-own", "bulkhead-model", "it", "it::mallory::a_server_of_ones_own_is_a_shared_account"),
    bug("batch-looked-after-unasked", "bulkhead-model", "it", "it::mallory::a_list_asks_for_nobody_elses_batch"),
    bug("batch-grant-unasked", "bulkhead-model", "it", "it::mallory::a_batch_takes_the_grant_of_its_lines"),
    bug("unkept-ids-sent-on", "bulkhead-model", "it", "it::mallory::what_is_not_kept_can_be_sent_along"),
    bug("field-folded-as-ascii", "bulkhead-model", "lib", "request::handles::tests::in_every_disguise"),
    bug("url-leads-anywhere", "bulkhead-model", "lib", "request::tests::nothing_is_fetched_from_a_shared_place"),
    bug("batch-line-in-a-line", "bulkhead-model", "lib", "batch::tests::a_line_that_is_wrong_is_named"),
    bug("semantic-partition-without-system", "bulkhead-model", "it", "it::semantic::soft_scope"),
    bug("semantic-partition-without-system", "bulkhead-model", "lib", "request::semantic::tests::only_the_wording_of_the_last_turn_may_differ"),
    bug("empty-answer-kept", "bulkhead-model", "it", "it::caching::what_is_not_a_whole_answer_is_not_kept"),
    bug("empty-answer-kept", "bulkhead-model", "lib", "sse::tests::knows_whole_streams"),
    bug("answer-with-handles-kept", "bulkhead-model", "it", "it::caching::an_answer_that_names_what_the_provider_keeps_is_not_kept"),
    bug("semantic-across-subjects", "bulkhead-model", "it", "it::semantic::a_subject_has_its_own_answers"),
    bug("semantic-answers-act", "bulkhead-model", "it", "it::semantic::an_answer_that_acts_answers_its_own_question_only"),
    bug("semantic-guard-without-names", "bulkhead-model", "lib", "request::guard::tests::turns_that_mean_another_thing_are_told_apart"),

    bug("server-ignores-tenant-header", "bulkhead-server", "it", "it::ambiguity::every_form_is_a_mismatch_and_is_recorded"),
    bug("server-ignores-tenant-header", "bulkhead-server", "it", "it::ratchet::every_route_against_every_wrong_credential"),
    bug("server-metrics-open", "bulkhead-server", "it", "it::incidents::admin_route"),
    bug("server-answers-cacheable", "bulkhead-server", "it", "it::incidents::shared_http_cache"),
    bug("server-request-id-from-caller", "bulkhead-server", "it", "it::incidents::caller_id"),
    bug("state-run-not-checked", "bulkhead-server", "it", "it::state::soft_scope"),
    bug("state-key-without-workflow", "bulkhead-server", "it", "it::state::soft_scope"),
    bug("handle-check-skipped", "bulkhead-server", "it", "it::handles::of_another_tenant_and_of_nobody_are_refused_alike"),
    bug("handle-check-skipped", "bulkhead-server", "it", "it::two_tenants::nothing_of_one_shows_up_with_another"),
    bug("handle-claim-skipped-in-streams", "bulkhead-server", "it", "it::handles::of_another_tenant_and_of_nobody_are_refused_alike"),
    bug("salt-without-environment", "bulkhead-server", "it", "it::handles::salts"),
    bug("unread-answer-frees-its-place", "bulkhead-server", "it", "it::load::a_value_that_is_not_read_keeps_its_place_and_ends_with_the_credential"),
    bug("model-test-without-enter", "bulkhead-server", "it", "it::authority::a_credential_of_a_tenant_takes_the_right_to_enter_and_a_reason"),
    bug("suspension-keeps-questions", "bulkhead-server", "it", "it::similar::a_similar_question_is_answered_within_one_environment"),
];
