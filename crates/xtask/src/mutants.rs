//! The table of guards: each one with the test that notices when it is off. `cargo xtask mutants` shows that it does, and
//! `cargo xtask tidy` that no guard in the sources is missing here.
//!
//! A guard is `nadb_core::guard::on("name")` in the sources. A test that fails for another reason would count as well, so
//! each row names one test that is about its guard and about little else.

mod run;

pub(crate) use run::{mutants, without};

/// A guard that can be switched off, and who notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mutant {
    /// The name in `guard::on("…")`.
    pub(crate) guard: &'static str,
    /// The package of the test.
    pub(crate) package: &'static str,
    /// The test's name: the function, with as many of its modules (`tests::name`) as it takes to name just one.
    pub(crate) test: &'static str,
    /// What goes wrong without the guard, in one sentence.
    pub(crate) without: &'static str,
}

/// Every guard, in the order of crates and files.
pub(crate) const TABLE: &[Mutant] = &[
    Mutant {
        guard: "codec.length_checked",
        package: "nadb-core",
        test: "a_decompression_bomb_is_refused_before_it_allocates",
        without: "Stored bytes that claim 4 GiB are believed and allocated for.",
    },
    Mutant {
        guard: "cursor.query_agrees",
        package: "nadb-core",
        test: "a_cursor_from_elsewhere_is_refused",
        without: "A cursor of another query, order or namespace goes on at a place that means nothing there.",
    },
    Mutant {
        guard: "cursor.checksum_agrees",
        package: "nadb-core",
        test: "every_changed_or_cut_cursor_is_refused",
        without: "A cursor that was cut or changed goes on at another place.",
    },
    Mutant {
        guard: "frame.mix_binds_place",
        package: "nadb-log",
        test: "a_frame_moved_to_another_place_or_file_is_refused",
        without: "A whole frame from another file or offset passes for the next one.",
    },
    Mutant {
        guard: "frame.lengths_checked",
        package: "nadb-log",
        test: "header_claims_are_refused_before_the_body_is_looked_at",
        without: "A header's length and count are believed beyond every limit.",
    },
    Mutant {
        guard: "access.sums_verified",
        package: "nadb-log",
        test: "every_cut_and_every_flipped_bit_of_an_access_file_is_noticed",
        without: "Times of an access file of which a crash or rot has changed a part are believed.",
    },
    Mutant {
        guard: "access.segment_checked",
        package: "nadb-log",
        test: "an_access_file_of_another_segment_is_passed_over",
        without: "When records of another segment were read is believed of those that stand at the same offsets.",
    },
    Mutant {
        guard: "append.publish_after_file",
        package: "nadb-log",
        test: "a_frame_whose_write_failed_is_never_published",
        without: "A flushed frame is visible although its write failed.",
    },
    Mutant {
        guard: "append.give_back_cuts_file",
        package: "nadb-log",
        test: "a_frame_whose_write_failed_does_not_come_back",
        without: "A write that failed is there after reopening, under a number that was given again.",
    },
    Mutant {
        guard: "read.mapped_is_verified",
        package: "nadb-engine",
        test: "a_flipped_bit_is_an_error_and_is_not_shown",
        without: "Damaged bytes of a mapped segment are given out as a value.",
    },
    Mutant {
        guard: "segment.named_before_first_frame",
        package: "nadb-log",
        test: "a_segment_is_named_durably_before_its_first_frame",
        without: "Synced frames stand in a file that no durable manifest names.",
    },
    Mutant {
        guard: "segment.sync_dir_after_create",
        package: "nadb-log",
        test: "a_name_is_durable_before_the_manifest_that_names_it",
        without: "A power cut keeps a manifest that names a segment whose file is gone.",
    },
    Mutant {
        guard: "sync.lower_frames_first",
        package: "nadb-log",
        test: "a_sync_covers_lower_buffered_frames",
        without: "A sync reports success while buffered frames below it are only in memory.",
    },
    Mutant {
        guard: "sync.every_file",
        package: "nadb-log",
        test: "a_sync_covers_every_file_with_a_lower_frame",
        without: "Only the newest segment is synced, and a power cut takes frames from the ones before.",
    },
    Mutant {
        guard: "sync.sampled_before",
        package: "nadb-log",
        test: "what_is_appended_during_a_sync_does_not_count_as_durable",
        without: "Frames that came while the files were being synced count as durable.",
    },
    Mutant {
        guard: "sync.failure_poisons",
        package: "nadb-log",
        test: "a_failed_sync_poisons_the_store",
        without: "Writing goes on after a failed sync, above pages that the system may have dropped.",
    },
    Mutant {
        guard: "manifest.sync_before_rename",
        package: "nadb-log",
        test: "a_manifests_content_is_durable_before_its_name",
        without: "A power cut leaves an empty manifest under the right name.",
    },
    Mutant {
        guard: "manifest.sync_dir_after_rename",
        package: "nadb-log",
        test: "a_manifests_name_is_durable_when_storing_it_returns",
        without: "A power cut brings an older manifest back.",
    },
    Mutant {
        guard: "recovery.below_durable_is_corruption",
        package: "nadb-log",
        test: "damage_below_what_was_durable_is_an_error_that_changes_nothing",
        without: "Rot in synced frames is cut off as if it were a torn tail.",
    },
    Mutant {
        guard: "recovery.gap_ends_replay",
        package: "nadb-log",
        test: "torn_frame_in_n_while_n_plus_1_holds_later_frames",
        without: "Frames behind a gap are replayed: what survives is no prefix.",
    },
    Mutant {
        guard: "recovery.unclean_jumps",
        package: "nadb-log",
        test: "an_unclean_reopening_jumps_and_begins_a_segment",
        without: "Numbers that were given and lost are given again.",
    },
    Mutant {
        guard: "recovery.shorten_cut_segment",
        package: "nadb-log",
        test: "frames_that_were_cut_do_not_come_back_behind_a_tail_of_equal_size",
        without: "Frames that recovery cut off stay in the file and come back.",
    },
    Mutant {
        guard: "recovery.rewrite_unsynced",
        package: "nadb-log",
        test: "what_a_failed_sync_left_in_the_cache_is_written_again_by_the_next_opening",
        without: "Frames that an earlier failed sync left in the cache count as durable and are not on the disk.",
    },
    Mutant {
        guard: "memtable.one_merge_at_a_time",
        package: "nadb-log",
        test: "scans_that_merge_at_the_same_time_lose_no_row",
        without: "Two scans that merge the same runs replace each other's, and rows are lost or the table falls over.",
    },
    Mutant {
        guard: "footer.block_checksum",
        package: "nadb-log",
        test: "blocks_are_verified_at_first_touch_and_not_before",
        without: "A footer whose bytes have rotted says where records are and which keys there are.",
    },
    Mutant {
        guard: "footer.postings_within_namespace",
        package: "nadb-log",
        test: "postings_outside_their_namespace_are_refused",
        without: "A tag's postings name rows of another namespace, or rows that there are not.",
    },
    Mutant {
        guard: "repair.footer_tags_compared",
        package: "nadb-log",
        test: "footers_that_do_not_have_the_records_tags_are_written_anew",
        without: "Repair calls a footer whole that gives rows other tags than their records have.",
    },
    Mutant {
        guard: "repair.origins_decide",
        package: "nadb-log",
        test: "a_lost_manifest_of_a_compacted_store_is_made_anew",
        without: "Without a manifest, what a compaction had replaced is a part of the store again.",
    },
    Mutant {
        guard: "repair.seals_beside_copies",
        package: "nadb-engine",
        test: "what_a_compacted_tombstone_hides_stays_hidden_when_it_is_written_anew",
        without: "Salvaged records go on behind compacted segments, with numbers below those of these.",
    },
    Mutant {
        guard: "blob.sync_before_name",
        package: "nadb-log",
        test: "the_content_of_a_finished_blob_survives_a_power_cut",
        without: "A power cut keeps a record that refers to a blob without content.",
    },
    Mutant {
        guard: "blob.sync_dir",
        package: "nadb-log",
        test: "the_name_of_a_finished_blob_survives_a_power_cut",
        without: "A power cut keeps a record that refers to a blob whose file is gone.",
    },
    Mutant {
        guard: "blob.unlink_on_failure",
        package: "nadb-log",
        test: "a_full_disk_gives_its_room_back_at_once",
        without: "What was written of a blob for which there was no room keeps the disk full.",
    },
    Mutant {
        guard: "blob.block_verified",
        package: "nadb-log",
        test: "damage_of_one_block_leaves_the_others_readable_and_nothing_of_it",
        without: "Rotten bytes of a large value are given out.",
    },
    Mutant {
        guard: "checkpoint.sums_verified",
        package: "nadb-log",
        test: "every_cut_and_every_flipped_bit_is_noticed",
        without: "A checkpoint of which a crash or rot has changed a part is taken for whole.",
    },
    Mutant {
        guard: "view.death_before_bit",
        package: "nadb-index",
        test: "between_the_steps_of_a_death_an_older_view_has_the_record",
        without: "For a moment a record is dead in a view that still has it.",
    },
    Mutant {
        guard: "seal.oldest_first",
        package: "nadb-testkit",
        test: "segments_are_sealed_in_their_order",
        without: "A segment is sealed before an older one, and replay cannot go on from where the sealed ones end.",
    },
    Mutant {
        guard: "seal.sync_before_manifest",
        package: "nadb-testkit",
        test: "a_footer_is_durable_before_the_manifest_that_names_it",
        without: "A power cut leaves a manifest that calls a segment sealed whose footer is not there.",
    },
    Mutant {
        guard: "recovery.sealed_extent",
        package: "nadb-testkit",
        test: "replay_goes_on_where_the_sealed_segments_end",
        without: "Frames behind the sealed segments are taken for frames behind a gap.",
    },
    Mutant {
        guard: "inflight.waits",
        package: "nadb-testkit",
        test: "a_write_waits_for_the_one_that_has_the_key",
        without: "Two writers of one key read the same value, and one of their updates is lost.",
    },
    Mutant {
        guard: "index.key_decides",
        package: "nadb-testkit",
        test: "keys_of_equal_hashes_are_told_apart_by_the_key_on_the_record",
        without: "Two keys with the same hash are taken for one.",
    },
    Mutant {
        guard: "replay.tombstones_remove",
        package: "nadb-testkit",
        test: "a_deleted_key_stays_deleted_after_reopening",
        without: "What was deleted is back after the next opening.",
    },
    Mutant {
        guard: "namespace.ids_not_reused",
        package: "nadb-testkit",
        test: "a_namespace_made_after_reopening_shares_no_keys_with_an_older_one",
        without: "A new namespace gets the id of an old one, and with it its keys.",
    },
    Mutant {
        guard: "view.version_before_index",
        package: "nadb-engine",
        test: "a_snapshot_finds_what_was_overwritten_and_deleted_since",
        without: "A snapshot does not find what was overwritten or deleted after its moment.",
    },
    Mutant {
        guard: "view.later_record_is_not_it",
        package: "nadb-engine",
        test: "a_key_that_is_overwritten_shows_as_it_was_and_not_as_it_is",
        without: "A snapshot's get shows what was written after its moment.",
    },
    Mutant {
        guard: "view.later_rows_hidden",
        package: "nadb-engine",
        test: "a_scan_shows_nothing_that_was_written_since",
        without: "A scan shows rows that were written after its moment.",
    },
    Mutant {
        guard: "view.purge_waits_for_views",
        package: "nadb-engine",
        test: "a_namespace_that_came_and_went_after_an_older_view_stays_for_those_between",
        without: "The keys of a dropped namespace are taken away from a view that has it.",
    },
    Mutant {
        guard: "rebuild.newest_wins",
        package: "nadb-engine",
        test: "of_several_records_the_newest_is_found_after_opening",
        without: "After opening sealed segments a key has one of its older values.",
    },
    Mutant {
        guard: "view.large_batches_remember",
        package: "nadb-engine",
        test: "a_view_that_is_taken_while_a_large_batch_comes_shows_what_was_before_it",
        without: "A view that is taken while a large batch is being published misses the records that the batch has displaced.",
    },
    Mutant {
        guard: "batch.single_reads_are_of_one_moment",
        package: "nadb-engine",
        test: "single_reads_while_a_large_batch_comes_are_of_one_moment",
        without: "Whoever reads one key of a batch and then another may see the one with it and the other without.",
    },
    Mutant {
        guard: "blob.kept_in_doubt",
        package: "nadb-engine",
        test: "a_blob_stays_where_its_record_may_be_there",
        without: "The blob of a write whose outcome is unknown is unlinked, and its record is there after reopening.",
    },
    Mutant {
        guard: "blob.referred_stays",
        package: "nadb-engine",
        test: "a_blob_that_a_record_names_outlives_openings",
        without: "Opening takes blobs that records refer to for orphans.",
    },
    Mutant {
        guard: "open.footers_by_position",
        package: "nadb-engine",
        test: "opening_reads_every_sealed_segments_footer_by_position",
        without: "A medium that fails ends the process with a signal when a store is opened.",
    },
    Mutant {
        guard: "checkpoint.uid_checked",
        package: "nadb-engine",
        test: "one_of_a_copy_that_went_its_own_way_is_passed_over",
        without: "The index of another segment of the same number is taken for this one's.",
    },
    Mutant {
        guard: "checkpoint.covers_all_sealed",
        package: "nadb-engine",
        test: "a_sealed_segment_that_it_does_not_know_makes_it_useless",
        without: "The keys of a segment that was sealed after the checkpoint are gone.",
    },
    Mutant {
        guard: "checkpoint.replay_must_meet",
        package: "nadb-engine",
        test: "one_that_covers_more_than_the_files_have_is_passed_over",
        without: "A checkpoint of what the files do not have is taken, and the index names records that are not there.",
    },
    Mutant {
        guard: "checkpoint.counts_agree",
        package: "nadb-engine",
        test: "counts_that_do_not_agree_mean_that_there_is_none",
        without: "A checkpoint is taken though index, live rows and namespaces have different numbers of keys.",
    },
    Mutant {
        guard: "checkpoint.refused_is_forgotten",
        package: "nadb-engine",
        test: "one_that_is_refused_half_way_leaves_nothing_behind",
        without: "What was loaded of a checkpoint before it was refused stays in the index.",
    },
    Mutant {
        guard: "memory.segments_end_early",
        package: "nadb-engine",
        test: "a_segment_ends_early_when_its_rows_have_had_their_share",
        without: "The rows of one segment take more memory than their share, up to what a full segment has.",
    },
    Mutant {
        guard: "memory.writers_wait",
        package: "nadb-engine",
        test: "nobody_passes_a_batch_that_waits_in_line",
        without: "Writers and large batches go on above the limit of memory.",
    },
    Mutant {
        guard: "reap.clock_must_be_trusted",
        package: "nadb-engine",
        test: "a_clock_a_hundred_years_ahead_hides_and_lets_nothing_go",
        without: "One moment of a wrong clock lets go of everything that has an expiry, for good.",
    },
    Mutant {
        guard: "reap.clock_record_first",
        package: "nadb-engine",
        test: "what_was_let_go_of_stays_gone_under_an_earlier_clock",
        without: "After reopening under an earlier clock, what had expired and was let go of is there again.",
    },
    Mutant {
        guard: "reap.looks_again",
        package: "nadb-engine",
        test: "a_key_that_was_written_again_since_it_was_found_stays",
        without: "A key that is overwritten while the reaper comes to it is counted as gone.",
    },
    Mutant {
        guard: "reap.never_above_now",
        package: "nadb-engine",
        test: "a_clock_that_was_set_back_since_the_rows_were_found_lets_nothing_go",
        without: "A record is let go of before its time.",
    },
    Mutant {
        guard: "access.ends_with_its_key",
        package: "nadb-engine",
        test: "what_was_deleted_and_written_again_was_never_read",
        without: "A key that is written again after its end has the last access of the one before.",
    },
    Mutant {
        guard: "access.loaded_before_it_is_taken_over",
        package: "nadb-engine",
        test: "a_write_takes_over_what_the_file_says_before_anybody_has_asked",
        without: "A write forgets when its key was read in an earlier session.",
    },
    Mutant {
        guard: "verify.compares_the_index",
        package: "nadb-engine",
        test: "verification_notices_an_index_that_the_files_do_not_give",
        without: "Verification finds nothing wrong with an index that is not the files'.",
    },
    Mutant {
        guard: "verify.compares_tags",
        package: "nadb-engine",
        test: "verification_notices_tags_that_the_records_do_not_have",
        without: "Verification finds nothing wrong with a footer that gives rows other tags than their records have.",
    },
    Mutant {
        guard: "compact.numbers_before_files",
        package: "nadb-log",
        test: "a_manifest_knows_the_numbers_of_outputs_before_their_files_have_frames",
        without: "After a crash while outputs are written, the manifest is taken for an old one and the store does not open.",
    },
    Mutant {
        guard: "compact.sync_output",
        package: "nadb-log",
        test: "an_output_is_durable_when_it_is_installed",
        without: "A power cut leaves a manifest that names a compacted segment without content, and its inputs are gone.",
    },
    Mutant {
        guard: "compact.sync_before_drop",
        package: "nadb-log",
        test: "what_has_displaced_a_record_is_durable_before_the_record_goes",
        without: "A power cut takes a buffered overwrite, and the record that it had displaced is gone already.",
    },
    Mutant {
        guard: "retire.after_last_pin",
        package: "nadb-log",
        test: "the_file_of_a_replaced_segment_goes_when_nobody_holds_it",
        without: "The file of a replaced segment goes while somebody reads it.",
    },
    Mutant {
        guard: "retire.blobs_in_order",
        package: "nadb-log",
        test: "blobs_wait_for_segments_that_were_replaced_before",
        without: "A blob goes while somebody holds an older segment with a record that names it.",
    },
    Mutant {
        guard: "compact.markers_hold_older",
        package: "nadb-engine",
        test: "a_tombstone_that_is_compacted_alone_holds_an_older_record_down",
        without: "What was deleted is back after its tombstone was compacted and the store opened again.",
    },
    Mutant {
        guard: "compact.newest_of_key",
        package: "nadb-engine",
        test: "of_one_key_the_newest_row_alone_is_copied",
        without: "Tombstones are copied along with the newer record of their key.",
    },
    Mutant {
        guard: "compact.drop_holds_namespace",
        package: "nadb-engine",
        test: "a_record_that_drops_a_namespace_holds_its_keys_down",
        without: "A dropped namespace is back after the record that drops it was compacted and the store opened again.",
    },
    Mutant {
        guard: "compact.deaths_while_copying",
        package: "nadb-engine",
        test: "a_row_that_died_after_it_was_copied_is_dead_in_the_copy",
        without: "A scan shows both the record that was overwritten while it was copied and the new one.",
    },
    Mutant {
        guard: "compact.deaths_forwarded",
        package: "nadb-engine",
        test: "a_writer_that_comes_across_compactions_displaces_the_copy",
        without: "A write that has found its record before a compaction moved it displaces nothing, and the old value stays.",
    },
    Mutant {
        guard: "compact.moves_by_comparing",
        package: "nadb-engine",
        test: "a_key_that_was_deleted_since_it_was_copied_is_not_put_back",
        without: "A key that was deleted while it was copied is there again.",
    },
    Mutant {
        guard: "compact.moved_is_found",
        package: "nadb-engine",
        test: "who_finds_a_place_gone_looks_for_the_key_again",
        without: "A read that comes across compactions calls the store corrupt.",
    },
    Mutant {
        guard: "compact.later_segment_is_found",
        package: "nadb-engine",
        test: "who_looks_with_an_old_table_finds_what_is_in_a_newer_segment_that_is_being_replaced",
        without: "A read that began before a segment was there calls the store corrupt when a compaction replaces that segment.",
    },
    Mutant {
        guard: "compact.expiries_are_looked_at_again",
        package: "nadb-engine",
        test: "what_expires_while_keys_move_is_let_go_of_in_the_end",
        without: "What expires while its key is moved is never let go of until the next opening.",
    },
    Mutant {
        guard: "redis.refusals_are_kept",
        package: "nadb-redis",
        test: "a_write_that_was_refused_does_not_happen_later",
        without: "A write that was sent twice and refused once happens when the first one arrives late.",
    },
    Mutant {
        guard: "redis.reads_see_drops",
        package: "nadb-redis",
        test: "a_namespace_dropped_by_another_client_is_gone_for_this_one",
        without: "A namespace that another client dropped and made again is never found again.",
    },
    Mutant {
        guard: "redis.dropped_versions_are_kept",
        package: "nadb-redis",
        test: "versions_go_on_behind_those_of_a_dropped_namespace_though_the_clock_was_set_back",
        without: "A namespace that is made again gives versions that the dropped one had given.",
    },
    Mutant {
        guard: "copy.position_is_durable",
        package: "nadb",
        test: "a_position_is_told_when_what_is_before_it_is_durable",
        without: "A copy that goes on after a power cut leaves out what the target had acknowledged and lost.",
    },
    Mutant {
        guard: "hash.whole",
        package: "nadb-core",
        test: "hashes_of_few_bytes_in_many_namespaces_differ",
        without: "All keys share sixteen hashes: slow, and right all the same, as `cargo xtask hash4` shows.",
    },
    Mutant {
        guard: "filter.only_what_it_saw",
        package: "nadb-engine",
        test: "a_record_that_changed_meanwhile_is_left_as_it_is",
        without: "A compaction filter overwrites and deletes what was written since it looked.",
    },
    Mutant {
        guard: "filter.panic_is_caught",
        package: "nadb-engine",
        test: "a_panic_and_an_error_keep_the_record_and_are_told",
        without: "A compaction filter that panics ends the compactor's thread, and space comes back no more.",
    },
];
