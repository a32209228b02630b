//! Overflowing stacks and other faults: the goroutine is named, and the exit status is what it has to be.
//! Each in a child process, by its exit status and its text.
#![cfg(test)]

mod fixture;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fixture::{Child, Ended, MODES, Mode, Setting, spin_until, until};
use gort_runtime::{Builder, go, grow, park, run, scope, spawn, yield_now};

/// Recurses for ever.
#[expect(unconditional_recursion, reason = "an overflow is what is tested")]
#[inline(never)]
fn recurse_without_end(n: usize) -> usize {
    let mut frame = [n; 16];
    black_box(&mut frame);
    1 + recurse_without_end(n + 1) + black_box(frame)[n % 16]
}

/// No core files.
fn without_core() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads one rlimit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) }, 0);
}

/// Runs `body` in a child, in each mode, as main of a runtime.
fn in_children(test: &'static str, body: fn(), judge: impl Fn(&Ended)) {
    for mode in MODES {
        let ended = Child::new(test, &format!("{mode:?}")).run(|| {
            without_core();
            Setting::new(2, mode).build().run(body);
        });
        if let Some(ended) = ended {
            judge(&ended);
        }
    }
}

/// Runs `body` in a child, on the test's own thread.
fn in_child(test: &'static str, body: impl FnOnce()) -> Option<Ended> {
    Child::new(test, "").run(|| {
        without_core();
        body();
    })
}

fn assert_says(stderr: &str, texts: &[&str]) {
    let mut rest = stderr;
    for text in texts {
        let Some(at) = rest.find(text) else { panic!("{text:?} is missing, or out of order:\n{stderr}") };
        rest = &rest[at + text.len()..];
    }
}

/// The report of an overflow, once, with all of these in this order; status 2.
fn assert_overflow(ended: &Ended, texts: &[&str]) {
    assert_eq!(ended.output.status.code(), Some(2), "{:?}\n{}", ended.output.status, ended.stderr);
    assert_says(&ended.stderr, texts);
    assert_eq!(ended.stderr.matches("stack overflow").count(), 1, "{}", ended.stderr);
}

fn assert_signal(ended: &Ended, signal: i32, texts: &[&str]) {
    assert_eq!(ended.output.status.signal(), Some(signal), "{:?}\n{}", ended.output.status, ended.stderr);
    assert_says(&ended.stderr, texts);
    assert!(!ended.stderr.contains("stack overflow"), "{}", ended.stderr);
}

const CREATED: &str = "created at runtime/tests/faults.rs:";

#[test]
fn an_overflow_names_the_goroutine_its_stack_and_the_cures() {
    in_children(
        "an_overflow_names_the_goroutine_its_stack_and_the_cures",
        || {
            yield_now();
            let deep = Builder::new().name("deep").stack_size(64 << 10).spawn(|| recurse_without_end(0));
            eprintln!("number: {}", deep.as_ref().unwrap().goroutine().id());
            deep.unwrap().join().unwrap();
        },
        |ended| {
            let created = format!("    {CREATED}");
            assert_overflow(
                ended,
                &[
                    "fatal error: goroutine ",
                    " \"deep\" stack overflow\n",
                    "stack has 64 KiB, from 0x",
                    "fault at 0x",
                    &created,
                    "Builder::stack_size",
                    "gort::grow",
                    "recurse_without_end",
                    "runtime/tests/faults.rs:",
                    "... the last frame ",
                    "left out",
                ],
            );
        },
    );
}

#[test]
fn the_main_goroutine_and_every_stack_size_overflow_alike() {
    let test = "the_main_goroutine_and_every_stack_size_overflow_alike";
    for kib in [16, 256, 4096] {
        for mode in MODES {
            let ended = Child::new(test, &format!("{kib}/{mode:?}")).run(|| {
                let runtime = Setting::new(1, mode).builder().stack_size(kib << 10).build().unwrap();
                runtime.run(|| recurse_without_end(0));
            });
            if let Some(ended) = ended {
                assert_overflow(&ended, &[&format!("stack has {kib} KiB"), "recurse_without_end"]);
            }
        }
    }
}

#[test]
fn an_overflow_of_a_segment_is_one() {
    in_children(
        "an_overflow_of_a_segment_is_one",
        || {
            #[inline(never)]
            fn grow_then_recurse(n: usize) -> usize {
                let mut frame = [n; 512];
                black_box(&mut frame);
                if n == 100 { recurse_without_end(0) } else { grow(|| grow_then_recurse(n + 1)) + frame[n] }
            }
            spawn(|| grow_then_recurse(0)).join().unwrap();
        },
        |ended| {
            assert_overflow(ended, &["segment of its stack", CREATED, "recurse_without_end"]);
        },
    );
}

#[test]
fn of_two_that_overflow_at_once_one_is_reported_whole() {
    in_children(
        "of_two_that_overflow_at_once_one_is_reported_whole",
        || {
            static READY: AtomicUsize = AtomicUsize::new(0);
            // Both threads are taken: neither stays behind the other.
            let meet = || {
                READY.fetch_add(1, Ordering::SeqCst);
                spin_until(|| READY.load(Ordering::SeqCst) == 2);
                recurse_without_end(0)
            };
            let other = Setting::new(1, Mode::PerWorker).build();
            std::thread::spawn(move || other.run(meet));
            meet();
        },
        |ended| assert_overflow(ended, &["recurse_without_end", "left out"]),
    );
}

#[test]
fn an_overflow_is_reported_whatever_locks_the_goroutine_holds() {
    in_children(
        "an_overflow_is_reported_whatever_locks_the_goroutine_holds",
        || {
            let _out = std::io::stdout().lock();
            let _err = std::io::stderr().lock();
            recurse_without_end(0);
        },
        |ended| assert_overflow(ended, &[CREATED, "recurse_without_end"]),
    );
}

/// An allocator with one lock, as simple ones have it.
struct Locked;

static HELD: AtomicBool = AtomicBool::new(false);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        spin_until(|| !HELD.load(Ordering::Relaxed));
        // SAFETY: passed on to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Locked = Locked;

#[test]
fn an_overflow_within_malloc_is_reported_without_names() {
    // Once: the handler's patience is long.
    let ended = in_child("an_overflow_within_malloc_is_reported_without_names", || {
        run(|| {
            HELD.store(true, Ordering::Relaxed);
            recurse_without_end(0);
        });
    });
    if let Some(ended) = ended {
        assert_overflow(&ended, &[CREATED, "(no names: ", "\n0x", "\n0x"]);
    }
}

#[test]
fn a_thread_s_own_overflow_is_std_s_affair() {
    let foreign = in_child("a_thread_s_own_overflow_is_std_s_affair", || {
        run(|| ());
        let thread = std::thread::Builder::new().name("foreign".into());
        thread.spawn(|| recurse_without_end(0)).unwrap().join().unwrap();
    });
    if let Some(ended) = foreign {
        assert_eq!(ended.output.status.signal(), Some(libc::SIGABRT), "{}", ended.stderr);
        assert_says(&ended.stderr, &["thread 'foreign'", "has overflowed its stack"]);
        assert!(!ended.stderr.contains("goroutine"), "{}", ended.stderr);
    }
}

#[inline(never)]
fn write_to(address: usize) {
    // SAFETY: none: this is the fault that is tested.
    unsafe { ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(1) };
}

#[test]
fn a_segmentation_fault_is_the_signal_s_and_names_the_goroutine() {
    in_children(
        "a_segmentation_fault_is_the_signal_s_and_names_the_goroutine",
        || {
            Builder::new().name("wild").spawn(|| write_to(black_box(0x10))).unwrap().join().unwrap();
        },
        |ended| {
            let line = "fatal: SIGSEGV at address 0x10 in goroutine ";
            assert_signal(ended, libc::SIGSEGV, &[line, " \"wild\" (created at runtime/", "write_to"]);
        },
    );
}

#[test]
fn a_fault_while_another_one_is_reported_does_not_cut_the_report_short() {
    fn report_of(process: u32) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("gort-faults-{process}"))
    }
    // The child's standard error stream is a file, so that it sees when the report has begun.
    let said = || std::fs::read_to_string(report_of(std::os::unix::process::parent_id())).unwrap();
    let test = "a_fault_while_another_one_is_reported_does_not_cut_the_report_short";
    let ended = in_child(test, || {
        let file = std::fs::File::create(report_of(std::os::unix::process::parent_id())).unwrap();
        // SAFETY: both are open; the copy is never closed.
        assert_eq!(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&file), 2) }, 2);
        let other = Setting::new(1, Mode::PerWorker).build();
        std::thread::spawn(move || {
            other.run(|| {
                spin_until(|| said().contains("fatal: SIGSEGV"));
                write_to(black_box(0x20));
            });
        });
        Setting::new(1, Mode::PerWorker).build().run(|| write_to(black_box(0x10)));
    });
    if let Some(ended) = ended {
        let text = std::fs::read_to_string(report_of(std::process::id())).unwrap();
        std::fs::remove_file(report_of(std::process::id())).unwrap();
        assert_eq!(ended.output.status.signal(), Some(libc::SIGSEGV), "{text}");
        assert_says(&text, &["fatal: SIGSEGV at address 0x10 in goroutine ", "write_to"]);
        assert!(!text.contains("0x20"), "{text}");
    }
}

#[test]
fn an_address_that_is_none_is_not_shown() {
    in_children(
        "an_address_that_is_none_is_not_shown",
        || write_to(black_box(0x8000_0000_0000_0000)),
        |ended| {
            if cfg!(target_arch = "x86_64") {
                assert_signal(ended, libc::SIGSEGV, &["fatal: SIGSEGV in goroutine ", "write_to"]);
            }
        },
    );
}

#[test]
fn a_bus_error_is_the_signal_s_and_names_the_goroutine() {
    in_children(
        "a_bus_error_is_the_signal_s_and_names_the_goroutine",
        || {
            // A mapping beyond the end of its file.
            // SAFETY: makes a file without a name.
            let file = unsafe { libc::memfd_create(c"empty".as_ptr(), 0) };
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a new mapping.
            let page = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, libc::MAP_SHARED, file, 0) };
            assert_ne!(page, libc::MAP_FAILED);
            write_to(page.expose_provenance());
        },
        |ended| {
            assert_signal(
                ended,
                libc::SIGBUS,
                &["fatal: SIGBUS at address 0x", " in goroutine ", "write_to"],
            );
        },
    );
}

#[test]
fn the_fault_of_a_foreign_thread_passes_by() {
    let ended = in_child("the_fault_of_a_foreign_thread_passes_by", || {
        run(|| ());
        write_to(black_box(0x10));
    });
    if let Some(ended) = ended {
        assert_signal(&ended, libc::SIGSEGV, &[]);
        assert!(!ended.stderr.contains("fatal"), "{}", ended.stderr);
    }
}

#[test]
fn a_stray_pointer_into_another_s_guard_page_is_no_overflow() {
    in_children(
        "a_stray_pointer_into_another_s_guard_page_is_no_overflow",
        || {
            let parked = spawn(|| {
                let here = 0_u8;
                LOCAL.store((&raw const here).addr(), Ordering::SeqCst);
                park();
            });
            until(|| LOCAL.load(Ordering::SeqCst) != 0);
            // Its slot is aligned to its size, within an extent that is.
            let inside = LOCAL.load(Ordering::SeqCst);
            // Downwards, page by page, to the first that cannot be read.
            let guard = (1..).map(|n| inside - n * 4096).find(|&page| !can_read(page)).unwrap();
            write_to(guard);
            drop(parked);
        },
        |ended| assert_signal(ended, libc::SIGSEGV, &["fatal: SIGSEGV at address 0x", "write_to"]),
    );
}

static LOCAL: AtomicUsize = AtomicUsize::new(0);

/// Asks the kernel, without a fault.
fn can_read(address: usize) -> bool {
    // SAFETY: writes two numbers.
    let mut pipe = [0; 2];
    // SAFETY: as above.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: the kernel checks the address.
    let written = unsafe { libc::write(pipe[1], ptr::with_exposed_provenance(address), 1) };
    pipe.into_iter().for_each(|end| {
        // SAFETY: ours.
        unsafe { libc::close(end) };
    });
    written == 1
}

/// What a former handler has seen: how often, and whether these signals were blocked.
static HANDLED: AtomicUsize = AtomicUsize::new(0);
static SELF_BLOCKED: AtomicBool = AtomicBool::new(false);
static USR1_BLOCKED: AtomicBool = AtomicBool::new(false);
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// As a virtual machine's: makes the page accessible and goes on.
extern "C" fn mend(number: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: an empty set, filled by the call below.
    let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: asks for the mask.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut mask) };
    // SAFETY: a valid set.
    SELF_BLOCKED.store(unsafe { libc::sigismember(&mask, number) } == 1, Ordering::SeqCst);
    // SAFETY: a valid set.
    USR1_BLOCKED.store(unsafe { libc::sigismember(&mask, libc::SIGUSR1) } == 1, Ordering::SeqCst);
    let page = ptr::with_exposed_provenance_mut(PAGE.load(Ordering::SeqCst));
    // SAFETY: a page of our own mapping.
    unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE) };
}

/// Installs `mend` with these flags, with SIGUSR1 in its mask.
fn install_mend(flags: libc::c_int) {
    // SAFETY: zero is a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = mend as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: a valid set.
    unsafe { libc::sigaddset(&mut action.sa_mask, libc::SIGUSR1) };
    // SAFETY: the handler is async-signal-safe.
    assert_eq!(unsafe { libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) }, 0);
}

fn page_without_access() -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    page.expose_provenance()
}

#[test]
fn a_former_handler_that_mends_the_fault_is_called_as_the_kernel_would() {
    let test = "a_former_handler_that_mends_the_fault_is_called_as_the_kernel_would";
    for (name, flags, blocks_itself) in [("plain", 0, true), ("nodefer", libc::SA_NODEFER, false)] {
        let ended = Child::new(test, name).run(|| {
            install_mend(flags);
            run(|| {
                for round in 1..=3 {
                    PAGE.store(page_without_access(), Ordering::SeqCst);
                    write_to(PAGE.load(Ordering::SeqCst));
                    assert_eq!(HANDLED.load(Ordering::SeqCst), round);
                    assert_eq!(SELF_BLOCKED.load(Ordering::SeqCst), blocks_itself);
                    assert!(USR1_BLOCKED.load(Ordering::SeqCst));
                }
            });
            // And an overflow is still ours.
            run(|| recurse_without_end(0));
        });
        if let Some(ended) = ended {
            assert_overflow(&ended, &["recurse_without_end"]);
            assert!(!ended.stderr.contains("fatal: SIG"), "nothing was fatal:\n{}", ended.stderr);
        }
    }
}

#[test]
fn a_handler_that_wants_one_call_gets_one() {
    let ended = in_child("a_handler_that_wants_one_call_gets_one", || {
        install_mend(libc::SA_RESETHAND);
        run(|| {
            PAGE.store(page_without_access(), Ordering::SeqCst);
            write_to(PAGE.load(Ordering::SeqCst));
            eprintln!("mended {}", HANDLED.load(Ordering::SeqCst));
            write_to(page_without_access());
        });
    });
    if let Some(ended) = ended {
        assert_signal(&ended, libc::SIGSEGV, &["mended 1\n", "fatal: SIGSEGV"]);
        assert_eq!(ended.stderr.matches("fatal").count(), 1, "the first was not fatal:\n{}", ended.stderr);
    }
}

#[test]
fn an_ignored_or_default_signal_is_as_the_kernel_has_it() {
    let test = "an_ignored_or_default_signal_is_as_the_kernel_has_it";
    for (name, action) in [("default", libc::SIG_DFL), ("ignored", libc::SIG_IGN)] {
        let set = move || {
            without_core();
            // SAFETY: no handler is called.
            unsafe { libc::signal(libc::SIGSEGV, action) };
        };
        let fault = Child::new(test, &format!("{name}/fault")).run(|| {
            set();
            run(|| write_to(black_box(0x10)));
        });
        if let Some(ended) = fault {
            assert_signal(&ended, libc::SIGSEGV, &["fatal: SIGSEGV at address 0x10", "write_to"]);
        }
        let sent = Child::new(test, &format!("{name}/sent")).run(|| {
            set();
            run(|| {
                // SAFETY: sends a signal to this process.
                unsafe { libc::raise(libc::SIGSEGV) };
                eprintln!("it is ignored");
            });
        });
        match sent {
            None => {}
            Some(ended) if action == libc::SIG_IGN => {
                assert_eq!(ended.output.status.code(), Some(0), "{}", ended.stderr);
                assert_says(&ended.stderr, &["it is ignored"]);
            }
            Some(ended) => assert_signal(&ended, libc::SIGSEGV, &[]),
        }
    }
}

#[test]
fn a_goroutine_of_a_scope_beside_others_is_the_one_that_is_named() {
    in_children(
        "a_goroutine_of_a_scope_beside_others_is_the_one_that_is_named",
        || {
            (0..20).for_each(|_| go! { park() });
            scope(|s| {
                let other = Builder::new().name("innocent").spawn_scoped(s, yield_now);
                let guilty = Builder::new().name("guilty").spawn_scoped(s, || recurse_without_end(0));
                other.unwrap().join().unwrap();
                guilty.unwrap().join().unwrap();
            });
        },
        |ended| {
            assert_overflow(ended, &[" \"guilty\" stack overflow"]);
            assert!(!ended.stderr.contains("innocent"), "{}", ended.stderr);
        },
    );
}
