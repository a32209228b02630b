//! Stacks: as large as was asked for, growing on demand, guarded, given back; and when there are no more
//! of them, that is an error and nothing else.
#![cfg(test)]

mod fixture;

use std::hint::black_box;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fixture::{
    Child, MODES, Mode, Setting, at, at_1_2_4, everywhere, limit_address_space, memory_bytes, message,
    panic_message, poll_until, spin_until, tid, until,
};
use gort_runtime::runtime::{self, Guard};
use gort_runtime::{Builder, JoinHandle, grow, num_goroutines, park, scope, spawn, yield_now};

const MIB: usize = 1 << 20;
const FRAME_BYTES: usize = 1 << 10;

/// Recurses through `bytes` of stack at least, runs `bottom` there, and checks each frame on the way back.
#[inline(never)]
fn dig<R>(bytes: usize, bottom: &mut dyn FnMut() -> R) -> R {
    let mut frame = [0_u8; FRAME_BYTES];
    frame[bytes % FRAME_BYTES] = 7;
    black_box(&mut frame);
    let result = if bytes < FRAME_BYTES { bottom() } else { dig(bytes - FRAME_BYTES, bottom) };
    assert_eq!(black_box(&frame)[bytes % FRAME_BYTES], 7, "somebody else has written to the stack");
    result
}

/// The same, on as many segments as it takes; `each` is run at each depth.
#[inline(never)]
fn dig_growing<R>(bytes: usize, each: &mut dyn FnMut(usize), bottom: &mut dyn FnMut() -> R) -> R {
    let mut frame = [0_u8; FRAME_BYTES];
    frame[bytes % FRAME_BYTES] = 7;
    black_box(&mut frame);
    each(bytes);
    let result =
        if bytes < FRAME_BYTES { bottom() } else { grow(|| dig_growing(bytes - FRAME_BYTES, each, bottom)) };
    assert_eq!(black_box(&frame)[bytes % FRAME_BYTES], 7, "somebody else has written to the stack");
    result
}

#[test]
fn a_stack_size_out_of_range_is_an_error_that_names_the_bound() {
    everywhere(|_| {
        for (bytes, bound) in [(100, "minimum of 16384"), ((1 << 30) + 1, "maximum of 1073741824")] {
            let error = Builder::new().stack_size(bytes).spawn(|| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(
                text.contains(&format!("stack size of {bytes} bytes is")) && text.contains(bound),
                "{text}"
            );
        }
        for bytes in [0, (16 << 10) - 1, usize::MAX] {
            assert!(Builder::new().stack_size(bytes).spawn(|| ()).is_err());
        }
        assert_eq!(num_goroutines(), 1);
    });
}

#[test]
fn stacks_of_16_kib_to_1_gib_work() {
    at_1_2_4(|_| {
        for log2 in 14..=30 {
            let child = Builder::new().stack_size(1 << log2).spawn(move || {
                yield_now();
                log2
            });
            assert_eq!(child.unwrap().join().unwrap(), log2);
        }
        let small: Vec<_> =
            (0..500).map(|n| Builder::new().stack_size(16 << 10).spawn(move || n).unwrap()).collect();
        assert_eq!(small.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>(), 499 * 250);
    });
}

#[test]
fn a_stack_is_as_deep_as_was_asked_for() {
    at(&[2], |setting| {
        // A quarter of the size, as the frames of a debug build are larger than what they hold.
        for bytes in [MIB, 64 * MIB] {
            let child = Builder::new().stack_size(bytes);
            let child = child.spawn(move || {
                dig(bytes / 4, &mut || {
                    yield_now();
                    bytes
                })
            });
            assert_eq!(child.unwrap().join().unwrap(), bytes);
        }
        // And what a runtime's builder says holds for all.
        let deep = setting.builder().stack_size(16 * MIB).build().unwrap();
        assert_eq!(deep.run(|| spawn(|| dig(4 * MIB, &mut || 5)).join().unwrap()), 5);
    });
}

#[test]
fn grow_goes_64_mib_deep_and_gives_it_back() {
    at(&[1, 2], |_| {
        let deep = || spawn(|| dig_growing(64 * MIB, &mut |_| (), &mut || 3)).join().unwrap();
        assert_eq!(deep(), 3);
        let reserved = runtime::info().unwrap().stacks_reserved_bytes;
        for _ in 0..2 {
            assert_eq!(deep(), 3);
        }
        // Other tests of this process reserve too, but not so much for the second and third time.
        let now = runtime::info().unwrap().stacks_reserved_bytes;
        assert!(now >= reserved);
    });
}

#[test]
fn grow_on_a_foreign_thread_is_a_call() {
    assert_eq!(dig_growing(64 << 10, &mut |_| (), &mut || grow(|| 4)), 4);
}

#[test]
fn goroutines_suspend_at_every_depth() {
    at_1_2_4(|_| {
        let handles: Vec<_> = (0..8)
            .map(|n| {
                spawn(move || {
                    let mut each = |bytes: usize| {
                        if bytes.is_multiple_of(64 << 10) {
                            yield_now();
                            assert_eq!(spawn(move || bytes).join().unwrap(), bytes);
                        }
                    };
                    dig_growing(2 * MIB, &mut each, &mut || {
                        (0..10).for_each(|_| yield_now());
                        n
                    })
                })
            })
            .collect();
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), n);
        }
    });
}

/// Counts its drops.
struct Dropped<'a>(&'a AtomicUsize);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_panic_unwinds_through_segments() {
    fn fall(depth: usize, drops: &AtomicUsize) {
        let _dropped = Dropped(drops);
        let frame = black_box([1_u8; FRAME_BYTES]);
        if depth == 0 {
            resume_unwind(Box::new("from below"));
        }
        grow(|| fall(depth - 1, drops));
        black_box(frame);
    }
    const DEPTH: usize = 3_000;
    at_1_2_4(|_| {
        // Caught at the root, and caught within, in a segment, after which it goes on.
        let drops = Arc::new(AtomicUsize::new(0));
        let own = Arc::clone(&drops);
        let child = spawn(move || fall(DEPTH, &own));
        assert_eq!(message(&*child.join().unwrap_err()), "from below");
        assert_eq!(drops.swap(0, Ordering::SeqCst), DEPTH + 1);
        let own = Arc::clone(&drops);
        let child = spawn(move || {
            dig_growing(MIB, &mut |_| (), &mut || {
                for _ in 0..3 {
                    let caught = catch_unwind(AssertUnwindSafe(|| fall(DEPTH, &own)));
                    assert_eq!(message(&*caught.unwrap_err()), "from below");
                    yield_now();
                }
                // The segments' own bookkeeping is right still.
                dig_growing(MIB, &mut |_| (), &mut || 9)
            })
        });
        assert_eq!(child.join().unwrap(), 9);
        assert_eq!(drops.load(Ordering::SeqCst), 3 * (DEPTH + 1));
    });
}

#[test]
fn goroutines_change_threads_within_segments() {
    for procs in [2, 4] {
        Setting::new(procs, Mode::ChildFirst).check(|| {
            let child = spawn(|| {
                let mut threads = 0;
                let mut each = |bytes: usize| {
                    if bytes.is_multiple_of(128 << 10) {
                        // The child runs here at once, and holds the thread until we have gone on.
                        let (before, gone_on) = (tid(), Arc::new(AtomicBool::new(false)));
                        let holder = spawn({
                            let gone_on = Arc::clone(&gone_on);
                            move || spin_until(|| gone_on.load(Ordering::SeqCst))
                        });
                        threads += usize::from(tid() != before);
                        gone_on.store(true, Ordering::SeqCst);
                        holder.join().unwrap();
                    }
                };
                dig_growing(4 * MIB, &mut each, &mut || yield_now());
                threads
            });
            let threads = child.join().unwrap();
            assert!(threads > 0, "it has moved {threads} times");
        });
    }
}

#[test]
fn goroutines_with_segments_end_and_begin_side_by_side() {
    at_1_2_4(|setting| {
        let mut rng = setting.rng(1);
        for _ in 0..10 {
            let depths: Vec<usize> = (0..20).map(|_| rng.below(2 << 20) as usize).collect();
            let sum: usize = depths.iter().sum();
            let total: usize = scope(|s| {
                let handles: Vec<_> = depths
                    .iter()
                    .map(|&depth| {
                        s.spawn(move || {
                            dig_growing(depth, &mut |_| (), &mut || {
                                yield_now();
                                depth
                            })
                        })
                    })
                    .collect();
                handles.into_iter().map(|handle| handle.join().unwrap()).sum()
            });
            assert_eq!(total, sum);
        }
    });
}

/// Runs over the end of the stack that it is on.
fn overflow() {
    eprintln!("on the way");
    dig(usize::MAX, &mut || ());
    eprintln!("the guard was not there");
}

#[test]
fn an_overflow_ends_the_process() {
    let scenarios: [(&str, &str, fn()); 5] = [
        ("of a goroutine", "", || drop(spawn(overflow).join())),
        ("of a small one", "", || {
            drop(Builder::new().stack_size(16 << 10).spawn(|| dig(MIB, &mut || ())).unwrap().join());
        }),
        ("with mprotect", "mprotect", || drop(spawn(overflow).join())),
        ("of a segment", "", || drop(spawn(|| dig_growing(MIB, &mut |_| (), &mut overflow)).join())),
        ("of the main goroutine", "", overflow),
    ];
    for (scenario, guard, body) in scenarios {
        let child = Child::new("an_overflow_ends_the_process", scenario);
        let ended = child.env("GORT_STACK_GUARD", guard).run(|| {
            let core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: reads one rlimit.
            unsafe { libc::setrlimit(libc::RLIMIT_CORE, &core) };
            Setting::new(2, Mode::PerWorker).build().run(body);
        });
        if let Some(ended) = ended {
            assert_eq!(ended.output.status.code(), Some(2), "{scenario}: {}", ended.stderr);
            assert!(ended.stderr.contains(" stack overflow\n"), "{scenario}: {}", ended.stderr);
            assert!(scenario == "of a small one" || ended.stderr.contains("on the way"), "{scenario}");
            assert!(!ended.stderr.contains("the guard was not there"), "{scenario}");
        }
    }
}

/// Spawns goroutines that park until there is no more room for stacks of this size; the error.
fn exhaust(bytes: usize, parked: &mut Vec<JoinHandle<()>>) -> std::io::Error {
    loop {
        match Builder::new().stack_size(bytes).spawn(park) {
            Ok(handle) => parked.push(handle),
            Err(error) => return error,
        }
        assert!(parked.len() < 100_000, "there is a limit");
    }
}

#[test]
fn exhaustion_is_an_error_and_passes() {
    const BYTES: usize = 64 * MIB;
    for mode in MODES {
        Child::new("exhaustion_is_an_error_and_passes", &format!("{mode:?}")).succeeds(|| {
            let setting = Setting::new(2, mode);
            let runtime = setting.builder().stack_size(BYTES).build().unwrap();
            gort_runtime::__private::check(runtime, || {
                spawn(|| ()).join().unwrap();
                // Room for stacks and for the heap, but not for many.
                limit_address_space(Some(2_600 * MIB));
                let mut parked = Vec::new();
                for _ in 0..3 {
                    let error = exhaust(BYTES, &mut parked);
                    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
                    let text = error.to_string();
                    assert!(text.contains("cannot reserve a goroutine stack of"), "{text}");
                    assert!(text.contains("annot allocate memory"), "{text}");
                    let text = panic_message(|| spawn(|| ()));
                    assert!(text.starts_with("cannot spawn a goroutine: cannot reserve"), "{text}");
                    assert!(parked.len() > 10, "{} stacks", parked.len());
                    assert_eq!(num_goroutines(), parked.len() + 1, "what failed does not count");
                    // Two end, two begin.
                    for _ in 0..2 {
                        let ends = parked.pop().unwrap();
                        ends.goroutine().unpark();
                        ends.join().unwrap();
                    }
                    assert_eq!(spawn(|| spawn(|| 5).join().unwrap()).join().unwrap(), 5);
                }
                parked.iter().for_each(|handle| handle.goroutine().unpark());
                parked.into_iter().for_each(|handle| handle.join().unwrap());
                limit_address_space(None);
            });
        });
    }
}

#[test]
fn a_segment_that_cannot_be_had_is_a_panic_of_its_goroutine() {
    Child::new("a_segment_that_cannot_be_had_is_a_panic_of_its_goroutine", "").succeeds(|| {
        Setting::new(1, Mode::PerWorker).check(|| {
            // There are segments of 1 to 16 MiB, so that the one of 32 is the first that is refused, and
            // what is left by then does for everybody's heap.
            spawn(|| dig_growing(16 * MIB, &mut |_| (), &mut || ())).join().unwrap();
            limit_address_space(Some(24 * MIB));
            let payload = spawn(|| dig_growing(64 * MIB, &mut |_| (), &mut || ())).join().unwrap_err();
            limit_address_space(None);
            let text = message(&*payload);
            assert!(text.starts_with("cannot grow a goroutine's stack: cannot reserve"), "{text}");
            assert_eq!(spawn(|| dig_growing(64 * MIB, &mut |_| (), &mut || 5)).join().unwrap(), 5);
        });
    });
}

#[test]
fn guards_by_mprotect_work_and_are_limited() {
    let child = Child::new("guards_by_mprotect_work_and_are_limited", "");
    child.env("GORT_STACK_GUARD", "mprotect").succeeds(|| {
        at(&[2], |_| {
            let info = runtime::info().unwrap();
            assert_eq!(info.guard, Guard::Mprotect);
            assert!(info.max_stacks.is_some_and(|stacks| stacks > 1_000), "{info:?}");
            let handles: Vec<_> = (0..2_000)
                .map(|n| {
                    spawn(move || {
                        yield_now();
                        n
                    })
                })
                .collect();
            assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>(), 1_999_000);
            assert_eq!(spawn(|| dig_growing(4 * MIB, &mut |_| (), &mut || 6)).join().unwrap(), 6);
        });
    });
}

#[test]
fn fifty_thousand_goroutines_park_at_once() {
    const MANY: usize = 50_000;
    at(&[2], |_| {
        let handles: Vec<_> = (0..MANY)
            .map(|n| {
                spawn(move || {
                    park();
                    n
                })
            })
            .collect();
        let info = runtime::info().unwrap();
        assert!(info.guard == Guard::Mprotect || info.max_stacks.is_none());
        assert!(info.stacks >= MANY && info.stacks_reserved_bytes >= MANY * (256 << 10), "{info:?}");
        assert_eq!(info.goroutines, MANY + 1);
        handles.iter().for_each(|handle| handle.goroutine().unpark());
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), n);
        }
    });
}

/// Memory in use.
fn resident() -> usize {
    memory_bytes().1
}

#[test]
fn goroutines_that_were_deep_and_wait_give_their_memory_back() {
    const MANY: usize = 200;
    const DEEP: usize = 256 << 10;
    for mode in MODES {
        let test = "goroutines_that_were_deep_and_wait_give_their_memory_back";
        Child::new(test, &format!("{mode:?}")).succeeds(|| {
            let runtime = Setting::new(2, mode).builder().stack_size(2 * MIB).build().unwrap();
            let before = resident();
            let handles: Vec<_> = runtime.run(|| {
                let ready = Arc::new(AtomicUsize::new(0));
                let handles = (0..MANY)
                    .map(|n| {
                        let ready = Arc::clone(&ready);
                        spawn(move || {
                            let kept = black_box([n as u8; 10_000]);
                            dig(DEEP, &mut || ());
                            ready.fetch_add(1, Ordering::SeqCst);
                            park();
                            assert!(black_box(kept).iter().all(|&byte| byte == n as u8));
                            // And the stack is as good as new.
                            dig(DEEP, &mut || n)
                        })
                    })
                    .collect();
                until(|| ready.load(Ordering::SeqCst) == MANY);
                handles
            });
            let deep = resident();
            assert!(deep > before + MANY * DEEP, "{before} {deep}");
            poll_until("the memory of those that park", || resident() < deep - MANY * DEEP * 9 / 10);
            handles.iter().for_each(|handle| handle.goroutine().unpark());
            for (n, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.join().unwrap(), n);
            }
            // Now that they have ended, their stacks lie free.
            assert!(resident() > before + MANY * DEEP / 2);
            poll_until("the memory of those that ended", || resident() < before + MANY * DEEP / 4);
            gort_runtime::__private::check(runtime, || ());
        });
    }
}
