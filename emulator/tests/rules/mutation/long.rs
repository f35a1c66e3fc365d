//! The same for as long as one likes: `cargo xtask fuzz`.

use std::env;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use super::{Case, cases, syntax};

/// How long a case may take: the step limit ends all of them within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The case that runs, and since when.
static CURRENT: Mutex<Option<(Instant, String)>> = Mutex::new(None);

fn current() -> MutexGuard<'static, Option<(Instant, String)>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number from the environment, or what it is without.
fn setting(name: &str, default: u64) -> u64 {
    let found = env::var(name).ok().and_then(|text| text.parse().ok());
    found.unwrap_or(default)
}

/// The runner of batch `batch` from `seed`: the same cases every time.
fn runner(seed: u64, batch: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&batch.to_le_bytes());
    let config = Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// One batch; the smallest input that fails, found by proptest, if one does.
fn batch<S: Strategy<Value: Debug>>(
    runner: &mut TestRunner,
    strategy: &S,
    text: impl Fn(&S::Value) -> String,
    check: impl Fn(&S::Value),
) -> Result<(), String> {
    let result = runner.run(strategy, |value| {
        *current() = Some((Instant::now(), format!("{value:?}\n{}", text(&value))));
        check(&value);
        *current() = None;
        Ok(())
    });
    result.map_err(|error| match error {
        TestError::Fail(reason, value) => {
            format!("{reason}\n{value:?}\n{}", text(&value))
        }
        error => error.to_string(),
    })
}

/// Ends the process where a case does not end.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        if let Some((start, text)) = &*current()
            && start.elapsed() > PATIENCE
        {
            eprintln!("this case takes more than {PATIENCE:?}:\n{text}");
            std::process::exit(1);
        }
    }
}

#[test]
#[ignore = "takes as long as one wants; `cargo xtask fuzz` runs it"]
fn fuzz() {
    let seconds = setting("PTX_EMULATOR_FUZZ_SECONDS", 10);
    let seed = setting("PTX_EMULATOR_FUZZ_SEED", 0);
    std::thread::spawn(watch);
    // A failing case panics once per step of its simplification.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let (mut launched, mut parsed) = (0, 0);
    for number in 0.. {
        let mut runner = runner(seed, number);
        let per_batch = u64::from(runner.config().cases);
        let result = match number % 2 {
            0 => {
                launched += per_batch;
                batch(&mut runner, &cases(), Case::text, Case::check)
            }
            _ => {
                parsed += per_batch;
                let (text, check) = (String::clone, |text: &String| syntax::check(text));
                batch(&mut runner, &syntax::texts(), text, check)
            }
        };
        if let Err(failure) = result {
            eprintln!("seed {seed}, batch {number}: {failure}");
            std::process::exit(1);
        }
        if start.elapsed().as_secs() >= seconds {
            break;
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    println!(
        "seed {seed}: {launched} changed kernels and {parsed} texts in {elapsed:.0} s, {:.0} cases per second; no \
         failure",
        (launched + parsed) as f64 / elapsed
    );
}
