//! The suite that every backend of NADB must pass: the meaning of every verb, the same everywhere.
//!
//! It is for whoever writes a [`Backend`]: NADB runs it on its own engine, in memory and on disk, and a third party runs the
//! same one. Each check gets a fresh, empty store from a function of yours, and panics when the store does not do as it
//! should. What the backend's capabilities exclude is not checked but stands in a list, which you check in, so that nothing
//! goes missing unnoticed.
//!
//! ```
//! use nadb_conformance::Subject;
//! # mod my {
//! #     use nadb_core::*;
//! #     pub struct MyBackend(Capabilities);
//! #     impl MyBackend {
//! #         pub fn new() -> MyBackend { MyBackend(Capabilities::new("mine")) }
//! #     }
//! #     impl Backend for MyBackend {
//! #         fn capabilities(&self) -> &Capabilities { &self.0 }
//! #         fn write(&self, _: &WriteBatch<'_>, _: &WriteOptions) -> Result<Vec<Outcome>> { Ok(vec![]) }
//! #         fn get(&self, _: &str, _: &[u8]) -> Result<Option<Value>> { Ok(None) }
//! #         fn get_entry(&self, _: &str, _: &[u8]) -> Result<Option<Entry>> { Ok(None) }
//! #         fn scan(&self, _: &str, _: ScanRequest) -> Result<Box<dyn Listing>> { Err(self.0.unsupported("scan")) }
//! #         fn namespaces(&self) -> Result<Vec<NamespaceInfo>> { Ok(vec![]) }
//! #         fn drop_namespace(&self, _: &str) -> Result<bool> { Ok(false) }
//! #         fn close(&self) -> Result<()> { Ok(()) }
//! #     }
//! # }
//! # use my::MyBackend;
//! fn subject() -> Subject {
//!     Subject::new(std::sync::Arc::new(MyBackend::new()))
//! }
//!
//! // In tests/conformance.rs: one #[test] for each check, and one that compares the list.
//! nadb_conformance::tests!(subject, excluded: "\
//! flush
//! snapshots
//! streams
//! custom merges
//! expire
//! purge
//! last access
//! ");
//!
//! // Or all at once, without a test harness.
//! let report = nadb_conformance::run(&subject);
//! assert!(!report.failures.is_empty(), "this one has yet to be written");
//! println!("{report}");
//! ```
//!
//! What it leaves to others: crashes, damaged files, lost connections and speed, which are each backend's own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a check that does not hold panics; that is its result")]

mod accesses;
mod batches;
mod conditions;
mod excluded;
mod expiry;
mod imports;
mod life;
mod lifetimes;
mod limits;
mod listings;
mod merges;
mod namespaces;
mod overwrites;
mod queries;
mod report;
mod shown;
mod snapshots;
mod streams;
mod subject;
mod threads;
mod values;
mod versions;

use std::fmt;

pub use excluded::{assert_excluded, excluded};
pub use nadb_core::Backend;
pub use report::{Failure, Report, run};
pub use subject::Subject;

/// One check: a name, and what it does to a fresh store.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Check {
    /// What it is about: the name of a module of this crate.
    pub group: &'static str,
    /// What should hold; no two checks have the same.
    pub name: &'static str,
    run: fn(&mut Subject),
}

impl Check {
    /// Does the check on `subject`, which must be new and empty; closes it afterwards, and verifies it before where it can
    /// be verified.
    ///
    /// # Panics
    /// If the backend does not do as it should.
    pub fn run(&self, mut subject: Subject) {
        (self.run)(&mut subject);
        subject.finish();
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.group, self.name)
    }
}

/// Does the check called `name` on a fresh store; what [`tests!`] makes tests of.
///
/// # Panics
/// If the backend does not do as it should, or no check has this name.
pub fn check(name: &str, subject: impl Fn() -> Subject) {
    let check = CHECKS.iter().find(|check| check.name == name);
    check.unwrap_or_else(|| panic!("there is no check called {name}")).run(subject());
}

/// A `#[test]` for each check of the suite, and one that compares what the backend's capabilities exclude with `excluded`,
/// a text of one line each, such as `include_str!("excluded.txt")`.
///
/// `subject` names a function without parameters that gives a [`Subject`] with a new, empty store. To run the suite on
/// several backends, put each into a module of its own.
#[macro_export]
macro_rules! tests {
    ($subject:path, excluded: $excluded:expr) => {
        $crate::__checks! { [$crate::__tests] [$subject] }

        #[test]
        fn what_is_excluded_is_what_is_listed() {
            $crate::assert_excluded(&$subject(), $excluded);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$subject:path] $($group:ident { $($check:ident)* })*) => {
        $($(
            #[test]
            fn $check() {
                $crate::check(stringify!($check), $subject);
            }
        )*)*
    };
}

/// The one list of all checks, handed to the macro that is named first.
#[doc(hidden)]
#[macro_export]
macro_rules! __checks {
    ([$($callback:tt)+] [$($arguments:tt)*]) => {
        $($callback)+! { [$($arguments)*]
            values {
                what_was_set_is_read_by_every_read
                values_may_be_any_bytes
                a_large_value_comes_back
                keys_may_be_any_bytes
                the_longest_keys_are_told_apart
                equal_keys_of_different_namespaces_are_different
                what_is_absent_is_no_error_and_creates_nothing
                a_delete_says_whether_the_key_was_there
                get_many_answers_in_the_order_of_the_keys
                a_value_outlives_its_key_and_its_store
            }
            shown {
                get_with_shows_what_get_gives
                what_is_absent_is_not_shown
                who_is_shown_a_value_may_call_the_store
                a_panic_of_who_is_shown_a_value_does_no_harm
            }
            overwrites {
                a_put_replaces_all_but_created
                tags_are_kept_when_told_so
                expiry_is_kept_when_told_so
                keeping_on_a_new_key_gives_nothing
                tags_attributes_and_media_type_come_back
                created_begins_anew_after_a_delete
                created_begins_anew_after_an_expiry
            }
            conditions {
                if_absent_holds_for_absent_keys_alone
                if_present_holds_for_present_keys_alone
                if_version_holds_for_that_version_alone
                deletes_and_merges_obey_conditions
                an_expired_key_is_absent_to_conditions
                a_failed_condition_creates_no_namespace
            }
            versions {
                versions_rise_and_are_what_reads_show
                versions_are_not_reused_after_a_delete
                versions_are_not_reused_after_an_expiry
                versions_are_not_reused_after_a_drop
            }
            merges {
                a_missing_counter_counts_from_zero
                counters_are_exact_up_to_their_limits
                what_is_no_counter_is_refused
                append_min_and_max_do_as_they_say
                a_merge_changes_the_value_alone
                a_merge_creates_its_namespace_if_it_succeeds
                own_operators_merge_or_are_refused
            }
            batches {
                later_operations_see_earlier_ones
                the_last_write_to_a_key_counts
                a_failed_condition_leaves_nothing_of_a_batch
                a_failed_merge_leaves_nothing_of_a_batch
                a_wrong_operation_leaves_nothing_of_a_batch
                no_version_matches_what_the_batch_itself_wrote
                batches_span_namespaces_or_are_refused
                batches_span_any_keys_or_are_refused
                an_empty_batch_does_nothing
            }
            expiry {
                an_expired_record_is_absent_everywhere
                a_lifetime_counts_from_the_write
                an_absolute_expiry_is_kept_to_the_millisecond
                an_expiry_already_past_acts_as_a_delete
                a_put_without_expiry_lives_on
                an_expired_record_leaves_nothing_behind
                a_merge_on_an_expired_key_begins_anew
            }
            lifetimes {
                an_expire_changes_the_expiry_alone
                a_new_lifetime_counts_from_its_write
                what_is_absent_does_not_expire
                an_expire_into_the_past_is_a_delete
                keeping_the_expiry_writes_nothing
                expires_obey_conditions
                expires_in_a_batch_see_what_came_before
                a_lifetime_beyond_a_limit_is_refused
                a_snapshot_has_the_expiry_of_its_moment
            }
            accesses {
                reads_of_a_key_are_known_and_looks_are_not
                a_last_access_outlives_overwrites_and_ends_with_its_key
                queries_find_by_last_access
            }
            imports {
                a_record_keeps_its_times_from_elsewhere
                what_is_there_is_replaced_by_what_is_imported
                an_import_is_of_any_keys_and_can_be_repeated
                what_has_expired_elsewhere_is_not_imported
                imports_beyond_a_limit_are_refused
            }
            namespaces {
                a_namespace_comes_with_its_first_record
                a_namespace_may_have_any_name
                a_dropped_namespace_is_gone_and_others_stay
                a_namespace_made_again_is_empty
            }
            listings {
                keys_come_in_the_order_of_their_bytes
                ranges_have_the_bounds_that_they_say
                prefixes_have_what_begins_with_them
                both_ends_meet_in_the_middle
                entries_are_what_get_entry_gives
                what_is_seen_is_what_is_given
                pages_go_on_after_the_last_key
                a_listing_has_each_live_key_once
                a_listing_is_of_its_own_namespace
                many_records_come_both_ways
                later_writes_do_not_change_a_listing_or_hardly
            }
            queries {
                every_filter_term_means_what_it_says
                filter_terms_nest_as_they_say
                orders_are_exact_also_among_equals
                offsets_and_limits_cut_what_was_ordered
                pages_go_on_by_position_across_writes
                what_was_deleted_or_has_expired_never_matches
                an_overwrite_replaces_what_queries_find
                tags_are_counted_in_order
                a_query_is_of_its_own_namespace
                filters_beyond_a_limit_are_refused
                queries_of_a_snapshot_keep_its_moment
                later_writes_do_not_change_a_query_or_hardly
                many_matches_come_in_every_order
                queries_end_with_their_store
                queries_answer_the_same_after_opening_again
            }
            snapshots {
                a_snapshot_shows_its_moment_by_every_read
                a_snapshot_has_a_clock_that_stands_still
                a_snapshot_has_the_namespaces_of_its_moment
                a_namespace_between_two_snapshots_is_in_the_later_one
                each_snapshot_has_a_moment_of_its_own
                the_version_of_a_snapshot_is_between_its_writes_and_later_ones
                scans_of_a_snapshot_go_both_ways
                a_snapshot_stays_through_much_writing
                writers_go_on_while_a_snapshot_is_held
                a_snapshot_has_a_batch_whole_or_not_at_all
                a_reader_of_a_snapshot_keeps_its_moment
                reads_of_a_snapshot_beyond_a_limit_are_refused
                a_snapshot_ends_with_its_store
            }
            streams {
                a_stream_is_seen_from_its_commit_on
                a_stream_that_is_dropped_leaves_nothing
                conditions_of_streams_are_tested_at_the_commit
                pieces_of_any_size_make_one_value
                a_stream_makes_a_record_like_any_put
                lifetimes_of_streams_count_from_the_commit
                the_last_commit_counts
                of_many_streams_if_absent_one_wins
                readers_go_to_any_place
                a_reader_of_what_is_absent_is_none
                a_reader_keeps_its_moment
                classes_of_streams_work_or_are_refused
                streams_beyond_a_limit_are_refused
                a_streamed_value_beyond_the_limit_is_refused
                streams_end_with_their_store
            }
            limits {
                writes_beyond_a_limit_are_refused
                reads_beyond_a_limit_are_refused
                what_is_at_the_limit_is_taken
                a_value_beyond_the_limit_is_refused
                a_batch_beyond_the_limit_is_refused
            }
            threads {
                counters_lose_no_step_among_threads
                of_many_if_absent_one_wins
                compare_and_set_loses_no_update
                no_reader_sees_half_a_batch
            }
            life {
                durability_classes_work_or_are_refused
                optional_methods_work_or_are_refused
                a_closed_store_says_so
                a_store_opened_again_is_as_it_was
                versions_go_on_after_opening_again
            }
        }
    };
}

macro_rules! list {
    ([] $($group:ident { $($check:ident)* })*) => {
        &[$($(Check { group: stringify!($group), name: stringify!($check), run: $group::$check },)*)*]
    };
}

/// All checks, in the order of the trait's verbs.
pub const CHECKS: &[Check] = __checks!([list] []);

#[cfg(test)]
mod unit {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_of_checks_are_different() {
        let names: BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len());
    }
}
