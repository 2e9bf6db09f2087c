//! That the suite can fail, and where: of every wrong backend the checks that are about it must notice.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{wrong, wrong_access, wrong_imports, wrong_queries, wrong_shown, wrong_snapshots, wrong_streams};

/// A `#[test]` for each line: the fault of the module named first, and the checks that must notice.
macro_rules! faults {
    ($wrong:ident: $($name:ident: $fault:ident => $($check:ident),+;)+) => {
        $(
            #[test]
            fn $name() {
                $(
                    let fault = $wrong::Fault::$fault;
                    let subject = || crate::subject_of(|clock| $wrong::Wrong::new(fault, clock));
                    let check = || nadb_conformance::check(stringify!($check), subject);
                    let is_noticed = catch_unwind(AssertUnwindSafe(check)).is_err();
                    assert!(is_noticed, "{} does not notice {fault:?}", stringify!($check));
                )+
            }
        )+
    };
}

faults! {
    wrong:
    append_adds_a_blank: AppendAddsABlank => append_min_and_max_do_as_they_say;
    batches_are_done_one_by_one: BatchesAreDoneOneByOne =>
        a_failed_condition_leaves_nothing_of_a_batch,
        a_failed_merge_leaves_nothing_of_a_batch,
        a_wrong_operation_leaves_nothing_of_a_batch,
        no_version_matches_what_the_batch_itself_wrote,
        a_batch_beyond_the_limit_is_refused;
    batches_are_done_twice: BatchesAreDoneTwice =>
        what_was_set_is_read_by_every_read,
        a_missing_counter_counts_from_zero,
        counters_lose_no_step_among_threads,
        later_operations_see_earlier_ones;
    batches_are_reversed: BatchesAreReversed => the_last_write_to_a_key_counts, later_operations_see_earlier_ones;
    batches_stay_in_a_namespace: BatchesStayInANamespace => batches_span_namespaces_or_are_refused;
    classes_are_ignored: ClassesAreIgnored => durability_classes_work_or_are_refused;
    closing_is_forgotten: ClosingIsForgotten => a_closed_store_says_so;
    conditions_are_ignored: ConditionsAreIgnored =>
        if_absent_holds_for_absent_keys_alone,
        if_present_holds_for_present_keys_alone,
        if_version_holds_for_that_version_alone,
        an_expired_key_is_absent_to_conditions,
        a_failed_condition_creates_no_namespace,
        of_many_if_absent_one_wins;
    conditions_of_deletes_are_ignored: ConditionsOfDeletesAreIgnored => deletes_and_merges_obey_conditions;
    counters_count_in_floating_point: CountersCountInFloatingPoint => counters_are_exact_up_to_their_limits;
    created_is_updated: CreatedIsUpdated =>
        a_put_replaces_all_but_created,
        a_merge_changes_the_value_alone;
    created_is_for_ever: CreatedIsForEver =>
        created_begins_anew_after_a_delete,
        created_begins_anew_after_an_expiry,
        a_namespace_made_again_is_empty;
    current_version_is_kept_secret: CurrentVersionIsKeptSecret =>
        if_absent_holds_for_absent_keys_alone,
        if_version_holds_for_that_version_alone,
        a_failed_condition_leaves_nothing_of_a_batch;
    deletes_create_namespaces: DeletesCreateNamespaces => what_is_absent_is_no_error_and_creates_nothing;
    drops_keep_the_records: DropsKeepTheRecords => a_dropped_namespace_is_gone_and_others_stay;
    drops_say_true: DropsSayTrue => a_dropped_namespace_is_gone_and_others_stay;
    drops_take_what_is_below: DropsTakeWhatIsBelow => a_dropped_namespace_is_gone_and_others_stay;
    drops_start_versions_again: DropsStartVersionsAgain => versions_are_not_reused_after_a_drop;
    empty_values_are_absent: EmptyValuesAreAbsent => values_may_be_any_bytes;
    errors_do_not_name_the_limit: ErrorsDoNotNameTheLimit =>
        writes_beyond_a_limit_are_refused,
        reads_beyond_a_limit_are_refused,
        a_value_beyond_the_limit_is_refused,
        a_batch_beyond_the_limit_is_refused;
    every_delete_found_something: EveryDeleteFoundSomething =>
        a_delete_says_whether_the_key_was_there,
        what_is_absent_is_no_error_and_creates_nothing;
    expected_is_a_limit: ExpectedIsALimit => pages_go_on_after_the_last_key;
    expires_are_forgotten: ExpiresAreForgotten =>
        an_expire_changes_the_expiry_alone,
        a_new_lifetime_counts_from_its_write,
        an_expire_into_the_past_is_a_delete,
        expires_obey_conditions,
        expires_in_a_batch_see_what_came_before,
        a_snapshot_has_the_expiry_of_its_moment;
    expires_are_updates: ExpiresAreUpdates => an_expire_changes_the_expiry_alone;
    expires_begin_anew: ExpiresBeginAnew => what_is_absent_does_not_expire;
    expires_create_namespaces: ExpiresCreateNamespaces => what_is_absent_does_not_expire;
    expires_drop_tags: ExpiresDropTags => an_expire_changes_the_expiry_alone;
    expires_ignore_conditions: ExpiresIgnoreConditions => expires_obey_conditions;
    expires_keep_the_sooner: ExpiresKeepTheSooner => an_expire_changes_the_expiry_alone;
    expires_of_absent_keys_succeed: ExpiresOfAbsentKeysSucceed => what_is_absent_does_not_expire;
    expires_write_what_they_keep: ExpiresWriteWhatTheyKeep => keeping_the_expiry_writes_nothing;
    expired_are_contained: ExpiredAreContained => an_expired_record_is_absent_everywhere;
    expired_are_listed: ExpiredAreListed => an_expired_record_is_absent_everywhere;
    flush_is_claimed: FlushClaims => optional_methods_work_or_are_refused;
    get_many_sorts_its_keys: GetManySortsItsKeys => get_many_answers_in_the_order_of_the_keys;
    keep_forgets: KeepForgets => tags_are_kept_when_told_so, expiry_is_kept_when_told_so;
    keys_are_case_blind: KeysAreCaseBlind => keys_may_be_any_bytes, keys_come_in_the_order_of_their_bytes;
    keys_end_at_nul: KeysEndAtNul => keys_may_be_any_bytes;
    lifetimes_in_seconds: LifetimesInSeconds =>
        a_lifetime_counts_from_the_write,
        an_expired_record_is_absent_everywhere,
        a_put_without_expiry_lives_on,
        an_expired_record_leaves_nothing_behind,
        a_merge_on_an_expired_key_begins_anew,
        versions_are_not_reused_after_an_expiry;
    listings_are_reversed: ListingsAreReversed =>
        keys_come_in_the_order_of_their_bytes,
        many_records_come_both_ways;
    listings_have_their_end: ListingsHaveTheirEnd => ranges_have_the_bounds_that_they_say;
    listings_forget_their_other_end: ListingsForgetTheirOtherEnd => both_ends_meet_in_the_middle;
    listings_ignore_their_bounds: ListingsIgnoreTheirBounds =>
        ranges_have_the_bounds_that_they_say,
        prefixes_have_what_begins_with_them;
    listings_of_all_namespaces: ListingsOfAllNamespaces => a_listing_is_of_its_own_namespace;
    listings_repeat_themselves: ListingsRepeatThemselves => a_listing_has_each_live_key_once;
    listings_see_later_writes: ListingsSeeLaterWrites => later_writes_do_not_change_a_listing_or_hardly;
    listings_show_another_value: ListingsShowAnotherValue => what_is_seen_is_what_is_given;
    listings_show_no_tags: ListingsShowNoTags => entries_are_what_get_entry_gives;
    listings_show_the_front_from_the_back: ListingsShowTheFrontFromTheBack => what_is_seen_is_what_is_given;
    listings_show_the_same_again: ListingsShowTheSameAgain => what_is_seen_is_what_is_given;
    long_keys_are_cut: LongKeysAreCut => the_longest_keys_are_told_apart;
    long_values_are_cut: LongValuesAreCut => values_may_be_any_bytes, a_large_value_comes_back;
    merges_drop_tags: MergesDropTags => a_merge_changes_the_value_alone;
    merges_do_not_give_the_value: MergesDoNotGiveTheValue =>
        append_min_and_max_do_as_they_say,
        own_operators_merge_or_are_refused;
    metadata_of_another_version: MetadataOfAnotherVersion => versions_rise_and_are_what_reads_show;
    namespaces_below_are_shared: NamespacesBelowAreShared =>
        equal_keys_of_different_namespaces_are_different,
        a_namespace_comes_with_its_first_record,
        a_namespace_may_have_any_name;
    no_key_is_too_long: NoKeyIsTooLong => writes_beyond_a_limit_are_refused, reads_beyond_a_limit_are_refused;
    past_expiry_is_written: PastExpiryIsWritten => an_expiry_already_past_acts_as_a_delete;
    puts_keep_tags: PutsKeepTags => a_put_replaces_all_but_created;
    stats_are_hidden: StatsAreHidden => optional_methods_work_or_are_refused;
    unicode_is_normal: UnicodeIsNormal => keys_may_be_any_bytes;
    values_have_a_lower_limit: ValuesHaveALowerLimit =>
        a_large_value_comes_back,
        a_value_beyond_the_limit_is_refused;
    versions_stand_still: VersionsStandStill =>
        versions_rise_and_are_what_reads_show,
        versions_are_not_reused_after_a_delete,
        if_version_holds_for_that_version_alone;
    writes_are_not_atomic: WritesAreNotAtomic => counters_lose_no_step_among_threads;
}

faults! {
    wrong_snapshots:
    batches_are_seen_while_done: BatchesAreSeenWhileDone => a_snapshot_has_a_batch_whole_or_not_at_all;
    get_many_is_not_of_one_moment: GetManyIsNotOfOneMoment => a_snapshot_has_a_batch_whole_or_not_at_all;
    listings_read_late: ListingsReadLate => later_writes_do_not_change_a_listing_or_hardly;
    snapshots_are_claimed_only: ClaimedOnly => optional_methods_work_or_are_refused;
    snapshots_are_hidden: Hidden => optional_methods_work_or_are_refused;
    snapshots_end_with_their_elder: EndWithTheirElder =>
        each_snapshot_has_a_moment_of_its_own,
        a_snapshot_stays_through_much_writing;
    snapshots_forget_closing: ClosingIsForgotten => a_snapshot_ends_with_its_store;
    snapshots_forget_what_is_deleted: ForgetWhatIsDeleted => a_snapshot_shows_its_moment_by_every_read;
    snapshots_lose_dropped_namespaces: DropsReachThem =>
        a_snapshot_has_the_namespaces_of_its_moment,
        a_namespace_between_two_snapshots_is_in_the_later_one;
    snapshots_mix_up_namesakes: DropsAndNewOnesReachThem => a_snapshot_has_the_namespaces_of_its_moment;
    snapshots_name_the_namespaces_of_now: NamesAreOfNow =>
        a_snapshot_has_the_namespaces_of_its_moment,
        a_snapshot_shows_its_moment_by_every_read;
    snapshots_share_a_moment: OneForAll =>
        each_snapshot_has_a_moment_of_its_own,
        the_version_of_a_snapshot_is_between_its_writes_and_later_ones;
    snapshots_show_new_keys: ShowNewKeys => a_snapshot_shows_its_moment_by_every_read;
    snapshots_show_now: ShowNow =>
        a_snapshot_shows_its_moment_by_every_read,
        a_snapshot_has_a_clock_that_stands_still,
        scans_of_a_snapshot_go_both_ways,
        a_snapshot_stays_through_much_writing;
    snapshots_stop_writers: StopWriters => writers_go_on_while_a_snapshot_is_held;
    snapshots_take_any_input: TakeAnyInput => reads_of_a_snapshot_beyond_a_limit_are_refused;
    get_with_of_snapshots_is_of_now: ShownIsOfNow => a_snapshot_shows_its_moment_by_every_read;
    gets_of_snapshots_are_of_now: GetIsOfNow => a_snapshot_shows_its_moment_by_every_read;
    get_many_of_snapshots_sorts_its_keys: GetManyOfThemSortsItsKeys => a_snapshot_shows_its_moment_by_every_read;
    metadata_of_snapshots_is_of_now: MetadataIsOfNow => a_snapshot_shows_its_moment_by_every_read;
    readers_of_snapshots_are_of_now: ReadersAreOfNow =>
        a_snapshot_shows_its_moment_by_every_read,
        a_reader_of_a_snapshot_keeps_its_moment;
    readers_of_snapshots_end_with_them: ReadersEndWithThem => a_reader_of_a_snapshot_keeps_its_moment;
    scans_of_snapshots_forget_their_other_end: ScansForgetTheirOtherEnd => scans_of_a_snapshot_go_both_ways;
    scans_of_snapshots_have_no_bounds: ScansHaveNoBounds => scans_of_a_snapshot_go_both_ways;
    scans_of_snapshots_read_late: ScansReadLate =>
        a_snapshot_shows_its_moment_by_every_read,
        writers_go_on_while_a_snapshot_is_held;
    time_goes_on_in_snapshots: TimeGoesOn => a_snapshot_has_a_clock_that_stands_still;
    time_is_that_of_the_last_write: TimeIsThatOfTheLastWrite => a_snapshot_has_a_clock_that_stands_still;
    versions_of_snapshots_are_of_now: VersionIsOfNow =>
        the_version_of_a_snapshot_is_between_its_writes_and_later_ones;
    versions_of_snapshots_stand_still: VersionStandsStill => each_snapshot_has_a_moment_of_its_own;
}

faults! {
    wrong_streams:
    readers_of_what_is_absent_are_empty: AbsentIsEmpty => a_reader_of_what_is_absent_is_none;
    readers_of_what_expired_are_there: ExpiredAreRead => a_reader_of_what_is_absent_is_none;
    readers_are_of_now: ReadersAreOfNow => a_reader_keeps_its_moment;
    readers_end_early: ReadersEndEarly => readers_go_to_any_place, pieces_of_any_size_make_one_value;
    readers_end_with_their_key: ReadersEndWithTheirKey => a_reader_keeps_its_moment;
    readers_have_metadata_of_now: MetadataIsOfNow => a_reader_keeps_its_moment;
    readers_stop_writers: ReadersStopWriters => a_reader_keeps_its_moment;
    seeks_from_the_end_count_from_the_start: SeeksFromEndCountFromStart => readers_go_to_any_place;
    seeks_stay_before_the_end: SeeksStayBeforeTheEnd => readers_go_to_any_place;
    seeks_stop_at_the_start: SeeksStopAtTheStart => readers_go_to_any_place;
    streams_are_claimed_only: ClaimedOnly => optional_methods_work_or_are_refused;
    streams_are_committed_at_the_first_piece: CommittedAtTheFirstPiece =>
        a_stream_is_seen_from_its_commit_on,
        a_stream_that_is_dropped_leaves_nothing;
    streams_are_committed_when_dropped: CommitWhenDropped => a_stream_that_is_dropped_leaves_nothing;
    streams_are_hidden: Hidden => optional_methods_work_or_are_refused, readers_go_to_any_place;
    streams_cut_long_pieces: LongPiecesAreCut => pieces_of_any_size_make_one_value;
    streams_cut_what_is_too_long: TooLongIsCut => a_streamed_value_beyond_the_limit_is_refused;
    streams_end_at_an_empty_piece: EmptyPieceIsTheEnd => pieces_of_any_size_make_one_value;
    streams_forget_attributes: AttributesAreForgotten => a_stream_makes_a_record_like_any_put;
    streams_forget_closing: ClosingIsForgotten => streams_end_with_their_store;
    streams_forget_their_own_value: OwnValueIsForgotten => pieces_of_any_size_make_one_value;
    streams_go_on_after_a_failure: FailedGoOn => a_streamed_value_beyond_the_limit_is_refused;
    streams_have_conditions_of_the_start: ConditionsAreOfTheStart =>
        conditions_of_streams_are_tested_at_the_commit,
        of_many_streams_if_absent_one_wins;
    streams_have_lifetimes_of_the_start: LifetimesAreOfTheStart => lifetimes_of_streams_count_from_the_commit;
    streams_have_one_piece: FirstPieceIsAll => pieces_of_any_size_make_one_value;
    streams_have_the_length_of_a_piece: LengthIsThatOfThePiece => pieces_of_any_size_make_one_value;
    streams_have_their_last_piece: LastPieceIsAll => a_stream_is_seen_from_its_commit_on;
    streams_have_the_version_of_the_start: VersionIsOfTheStart => a_stream_is_seen_from_its_commit_on;
    streams_ignore_classes: ClassesAreIgnored => classes_of_streams_work_or_are_refused;
    streams_ignore_conditions: ConditionsAreIgnored =>
        conditions_of_streams_are_tested_at_the_commit,
        of_many_streams_if_absent_one_wins;
    streams_keep_what_was_at_the_start: KeepIsOfTheStart => a_stream_makes_a_record_like_any_put;
    streams_lock_their_key: OneStreamPerKey =>
        the_last_commit_counts,
        of_many_streams_if_absent_one_wins;
    streams_lose_against_others: FirstStreamWins => the_last_commit_counts;
    streams_make_their_namespace_at_the_start: NamespaceComesAtTheStart =>
        a_stream_is_seen_from_its_commit_on,
        a_stream_that_is_dropped_leaves_nothing;
    streams_take_any_input: AnyInputIsTaken => streams_beyond_a_limit_are_refused;
    streams_take_deletes: DeletesAreTaken => streams_beyond_a_limit_are_refused;
}

faults! {
    wrong_shown:
    absent_values_are_shown_as_empty: AbsentIsEmpty => what_is_absent_is_not_shown;
    any_input_is_shown: AnyInputIsTaken => reads_beyond_a_limit_are_refused;
    closing_is_forgotten_by_who_shows: ClosingIsForgotten => a_closed_store_says_so;
    expired_values_are_shown: ExpiredAreShown => what_is_absent_is_not_shown;
    half_of_a_value_is_shown: ShowsHalf => get_with_shows_what_get_gives;
    nothing_is_shown: NothingIsShown => get_with_shows_what_get_gives;
    nothing_is_said_to_be_shown: KeepsQuiet => get_with_shows_what_get_gives;
    panics_are_swallowed: SwallowsPanics => a_panic_of_who_is_shown_a_value_does_no_harm;
    panics_leave_the_store_locked: StaysLockedAfterAPanic => a_panic_of_who_is_shown_a_value_does_no_harm;
    the_store_is_locked_while_a_value_is_shown: LocksTheStore => who_is_shown_a_value_may_call_the_store;
    values_are_shown_twice: ShowsTwice => get_with_shows_what_get_gives;
}

faults! {
    wrong_queries:
    and_is_or: AndIsOr => filter_terms_nest_as_they_say;
    any_filter_is_taken: AnyFilterIsTaken => filters_beyond_a_limit_are_refused;
    closing_is_forgotten_by_queries: ClosingIsForgotten => queries_end_with_their_store;
    contains_is_prefix: ContainsIsPrefix => every_filter_term_means_what_it_says;
    counts_stop_at_fifty: CountsStopAtFifty => many_matches_come_in_every_order;
    created_is_updated_in_filters: CreatedIsUpdated => every_filter_term_means_what_it_says;
    descending_keeps_equals_ascending: DescendingKeepsEqualsAscending => orders_are_exact_also_among_equals;
    empty_and_is_nothing: EmptyAndIsNothing => filter_terms_nest_as_they_say;
    empty_or_is_everything: EmptyOrIsEverything => filter_terms_nest_as_they_say;
    entries_of_queries_have_no_value: EntriesHaveNoValue => every_filter_term_means_what_it_says;
    expired_are_counted: ExpiredAreCounted => what_was_deleted_or_has_expired_never_matches;
    expired_are_matched: ExpiredAreMatched => what_was_deleted_or_has_expired_never_matches;
    expired_have_tags: ExpiredHaveTags => what_was_deleted_or_has_expired_never_matches;
    keys_of_queries_count_not_as_given: KeysCountNotAsGiven => orders_are_exact_also_among_equals;
    last_position_is_missing: LastPositionIsMissing => pages_go_on_by_position_across_writes;
    limit_counts_from_the_start: LimitCountsFromTheStart => offsets_and_limits_cut_what_was_ordered;
    matches_read_late: MatchesReadLate => later_writes_do_not_change_a_query_or_hardly;
    matches_stop_at_fifty: MatchesStopAtFifty => many_matches_come_in_every_order;
    namespaces_are_mixed_in_queries: NamespacesAreMixed => a_query_is_of_its_own_namespace;
    no_expiry_is_infinity: NoExpiryIsInfinity => every_filter_term_means_what_it_says;
    not_is_forgotten_inside: NotIsForgottenInside => filter_terms_nest_as_they_say;
    offset_is_ignored: OffsetIsIgnored => offsets_and_limits_cut_what_was_ordered;
    order_is_ignored: OrderIsIgnored => orders_are_exact_also_among_equals;
    place_is_included: PlaceIsIncluded => pages_go_on_by_position_across_writes;
    place_is_of_the_key_alone: PlaceIsOfTheKeyAlone => pages_go_on_by_position_across_writes;
    place_must_exist: PlaceMustExist => pages_go_on_by_position_across_writes;
    prefix_is_contained: PrefixIsContained => every_filter_term_means_what_it_says;
    size_ends_early: SizeEndsEarly => every_filter_term_means_what_it_says;
    queries_of_snapshots_are_of_now: SnapshotsAreOfNow => queries_of_a_snapshot_keep_its_moment;
    snapshots_count_now: SnapshotsCountNow => queries_of_a_snapshot_keep_its_moment;
    snapshots_have_tags_of_now: SnapshotsHaveTagsOfNow => queries_of_a_snapshot_keep_its_moment;
    tag_prefix_is_ignored: TagPrefixIsIgnored => tags_are_counted_in_order;
    tags_are_case_blind: TagsAreCaseBlind => every_filter_term_means_what_it_says;
    tags_are_for_ever: TagsAreForEver => an_overwrite_replaces_what_queries_find;
    tags_are_unsorted: TagsAreUnsorted => tags_are_counted_in_order;
    tags_begin_alike: TagsBeginAlike => every_filter_term_means_what_it_says;
    tags_have_one_more: TagsHaveOneMore => tags_are_counted_in_order;
    updated_is_created: UpdatedIsCreated => every_filter_term_means_what_it_says;
}

faults! {
    wrong_access:
    deletes_keep_the_last_access: DeletesKeepIt => a_last_access_outlives_overwrites_and_ends_with_its_key;
    entries_show_their_own_read: EntriesShowTheirOwnRead => reads_of_a_key_are_known_and_looks_are_not;
    expiries_keep_the_last_access: ExpiriesKeepIt => a_last_access_outlives_overwrites_and_ends_with_its_key;
    get_many_is_no_read: ManyAreNoReads => reads_of_a_key_are_known_and_looks_are_not;
    get_with_is_no_read: ShownAreNoReads => reads_of_a_key_are_known_and_looks_are_not;
    last_access_is_claimed_only: ClaimedOnly =>
        reads_of_a_key_are_known_and_looks_are_not,
        a_last_access_outlives_overwrites_and_ends_with_its_key,
        queries_find_by_last_access;
    last_access_is_counted_by_nobody: CountsIgnoreIt => queries_find_by_last_access;
    last_access_is_hidden: Hidden => reads_of_a_key_are_known_and_looks_are_not;
    last_access_is_not_kept_and_answered: HiddenAndAnswered => queries_find_by_last_access;
    last_accesses_lie_ahead: TimesAreOfTheFuture => reads_of_a_key_are_known_and_looks_are_not;
    looks_are_reads: LooksAreReads => reads_of_a_key_are_known_and_looks_are_not;
    overwrites_end_the_last_access: OverwritesEndIt => a_last_access_outlives_overwrites_and_ends_with_its_key;
    readers_are_no_reads: ReadersAreNoReads => reads_of_a_key_are_known_and_looks_are_not;
    scans_are_reads: ScansAreReads => reads_of_a_key_are_known_and_looks_are_not;
    touches_are_no_reads: TouchIsNoRead => reads_of_a_key_are_known_and_looks_are_not;
    touches_of_absent_keys_succeed: TouchOfAbsentKeysSucceeds => reads_of_a_key_are_known_and_looks_are_not;
}

faults! {
    wrong_imports:
    imports_are_claimed_only: ClaimedOnly =>
        a_record_keeps_its_times_from_elsewhere,
        what_is_there_is_replaced_by_what_is_imported,
        an_import_is_of_any_keys_and_can_be_repeated;
    imports_are_hidden: Hidden => a_record_keeps_its_times_from_elsewhere;
    imports_are_hidden_and_their_puts_are_done: HiddenAndDone => a_record_keeps_its_times_from_elsewhere;
    imports_are_of_the_first_record: OfTheFirst => an_import_is_of_any_keys_and_can_be_repeated;
    imports_do_not_replace: DoNotReplace => what_is_there_is_replaced_by_what_is_imported;
    imports_have_no_limits: NoLimits => imports_beyond_a_limit_are_refused;
    imports_keep_created: KeepCreated => what_is_there_is_replaced_by_what_is_imported;
    imports_lose_attributes: LoseAttributes => a_record_keeps_its_times_from_elsewhere;
    imports_live_for_ever: LiveForEver =>
        a_record_keeps_its_times_from_elsewhere,
        what_has_expired_elsewhere_is_not_imported;
}

#[test]
fn a_run_names_the_checks_that_failed() {
    let report = nadb_conformance::run(&|| {
        crate::subject_of(|clock| wrong::Wrong::new(wrong::Fault::GetManySortsItsKeys, clock))
    });
    let failed: Vec<_> = report.failures.iter().map(|failure| failure.check.name).collect();
    assert_eq!(failed, ["get_many_answers_in_the_order_of_the_keys"]);
    let text = report.to_string();
    assert!(text.contains("failed: values::get_many_answers_in_the_order_of_the_keys: assertion"), "{text}");
}

#[test]
fn a_list_that_differs_is_noticed() {
    let compare = |listed| {
        let compare = || nadb_conformance::assert_excluded(&crate::map(), listed);
        catch_unwind(AssertUnwindSafe(compare)).is_ok()
    };
    let right = nadb_conformance::excluded(&crate::map()).join("\n");
    assert!(compare(&right) && !compare("") && !compare(&format!("{right}\nmore")));
}
