//! The engine with real containers, over the built-in runtime and those that are installed. Needs root
//! and busybox-static.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "times and sizes are for whoever looks")]

mod crash;
mod life;
mod logs;
mod storage;
mod support;

/// Each test once for each runtime.
macro_rules! with {
    ($runtime:ident, $with:expr, $($module:ident::$test:ident)*) => {
        mod $runtime {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let name = concat!(stringify!($runtime), "::", stringify!($test));
                    if !crate::support::done_elsewhere($with, name) {
                        crate::$module::$test($with).await;
                    }
                }
            )*
        }
    };
}

macro_rules! all_with {
    ($runtime:ident, $with:expr) => {
        with! {
            $runtime, $with,
            crash::the_daemon_goes_and_comes_back
            crash::a_shim_that_is_killed_takes_its_container_along
            life::a_container_lives_and_nothing_is_left
            life::what_cannot_run_says_why_and_leaves_nothing
            life::stopping_asks_first_and_then_kills
            life::frozen_and_thawed
            life::input_output_and_half_closed
            life::a_terminal_has_a_size_and_signals
            life::commands_run_inside
            life::probes_and_all_that_they_started_end_in_time
            life::counters_and_processes
            life::memory_runs_out
            life::secrets_are_in_memory_only_and_have_to_be_given_again_once_lost
            life::a_slow_reader_is_dropped_and_the_log_is_whole
            life::a_network_namespace_is_joined
            logs::followed_while_files_are_exchanged
            logs::streams_times_and_the_end_of_following
            logs::a_driver_that_keeps_nothing
            storage::volumes_begin_with_the_image_s_content_and_outlive_containers
            storage::the_root_is_like_the_image_s
            storage::anonymous_volumes_go_with_their_container_if_told
            storage::anonymous_volumes_are_gone_on_with
            storage::a_mounted_volume_lasts_as_long_as_its_users
            storage::binds_tmpfs_subpaths_and_driver_options
        }
    };
}

with! {
    many, crate::support::With::BuiltIn,
    crash::killed_at_any_instant_nothing_is_lost_or_left
    crash::a_hundred_at_once
}
all_with!(built_in, crate::support::With::BuiltIn);
all_with!(crun, crate::support::With::Program("crun"));
all_with!(runc, crate::support::With::Program("runc"));
