//! `--against`: what a user would run instead, timed by Python on the same card.
//!
//! `benches/peers/peers.py` is part of this program. It runs beside it, gets a line of JSON for each request
//! and answers with one. Between requests it is idle, and so does not disturb what is timed here.

use std::fs;
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use clap::ValueEnum;
use nvfp4_dual_gemm::plan::Shape;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::answers::{About, Peer, parse_about, parse_peers};

const PROGRAM: &str = include_str!("../../../benches/peers/peers.py");
const PYTHON: &str = "python3";

/// What Python needs.
const NEEDED: &str = "--against needs python3 with PyTorch 2.8 or later, built for CUDA, and Triton: pip install torch";

/// Groups of peers, as `--against` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Against {
    /// bf16 products of torch: two of them and eager SiLU and product, or one and a fused kernel
    TorchBf16,
    /// One e4m3 product of torch, a scale factor per tensor, and a fused kernel
    TorchFp8,
    /// A bf16 kernel in Triton for everything, tuned for each shape
    Triton,
    /// All of these
    All,
}

/// The peer that multiplies in 8 bits. All others do in bf16.
pub const FP8: &str = "torch-fp8";

impl Against {
    /// The peers that are meant, each once.
    pub fn names(chosen: &[Self]) -> Vec<&'static str> {
        const PEERS: [(Against, &str); 4] = [
            (Against::TorchBf16, "torch-bf16-eager"),
            (Against::TorchBf16, "torch-bf16-fused"),
            (Against::TorchFp8, FP8),
            (Against::Triton, "triton"),
        ];
        let is_chosen = |group: &Self| chosen.contains(group) || chosen.contains(&Self::All);
        let peers = PEERS.iter().filter(|(group, _)| is_chosen(group));
        peers.map(|&(_, name)| name).collect()
    }
}

/// Why no peer was timed.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The device is emulated.
    #[error("--against times other programs on the same card, and {device} is none; leave it out")]
    Emulated {
        /// Its name.
        device: String,
    },
    /// There is no Python.
    #[error("running {PYTHON}: {0}; {NEEDED}")]
    Python(io::Error),
    /// Python lacks a library.
    #[error("{PYTHON} has no module {module}; {NEEDED}")]
    MissingModule {
        /// Its name.
        module: String,
    },
    /// The peers can't run here.
    #[error("the peers can't run: {what}; {NEEDED}")]
    Unable {
        /// Why not.
        what: String,
    },
    /// Python ended before it had answered.
    #[error("{PYTHON} ended ({status}) without an answer; its messages are above; {NEEDED}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
    },
    /// An answer isn't one.
    #[error("{PYTHON} answered {line:?}: {error}")]
    Answer {
        /// What it said.
        line: String,
        /// What is wrong with it.
        error: String,
    },
    /// The program could not be written, or the connexion broke.
    #[error("talking to {PYTHON}: {0}")]
    Io(#[from] io::Error),
}

/// How peers are timed; as [`nvfp4_dual_gemm::bench::Settings`].
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Sets of operands used in turn.
    pub sets: usize,
    /// Launches timed in replay mode.
    pub replays: usize,
    /// How often a back-to-back graph goes through all sets.
    pub rounds: usize,
    /// Milliseconds of work before each mode.
    pub warm_up_ms: f64,
}

/// Python, running the peers.
pub struct Peers {
    child: Child,
    /// `None` once it is to end.
    requests: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    names: Vec<&'static str>,
    _program: TempDir,
}

impl Peers {
    /// Starts Python with the card of this UUID as its only one.
    ///
    /// # Errors
    /// [`PeersError::Python`] if there is none, [`PeersError::Io`] if the program can't be written.
    pub fn start(names: Vec<&'static str>, uuid: [u8; 16]) -> Result<Self, PeersError> {
        // Triton reads the source of kernels: the program has to be a file.
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("peers.py");
        fs::write(&file, PROGRAM)?;
        let mut python = Command::new(PYTHON);
        python
            .arg(file)
            .env("CUDA_VISIBLE_DEVICES", visible_device(uuid));
        Self::spawn(python, names, directory)
    }

    fn spawn(
        mut python: Command,
        names: Vec<&'static str>,
        program: TempDir,
    ) -> Result<Self, PeersError> {
        let mut child = python
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(PeersError::Python)?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are pipes");
        };
        Ok(Self {
            child,
            requests: Some(requests),
            answers: BufReader::new(answers).lines(),
            names,
            _program: program,
        })
    }

    /// What they run on; measures it, a product of `arithmetic_size`³ among others.
    ///
    /// # Errors
    /// [`PeersError`].
    pub fn describe(
        &mut self,
        timing: &Timing,
        arithmetic_size: usize,
    ) -> Result<About, PeersError> {
        let answer = self.ask(&json!({
            "replays": timing.replays,
            "warm_up_ms": timing.warm_up_ms,
            "arithmetic_size": arithmetic_size,
        }))?;
        parse_about(&answer)
    }

    /// Times every peer on a shape.
    ///
    /// # Errors
    /// [`PeersError`]; a peer that can't run the shape is no error, but says so in its [`Peer`].
    pub fn measure(&mut self, shape: &Shape, timing: &Timing) -> Result<Vec<Peer>, PeersError> {
        if shape.batch() != 1 {
            let refused = |name: &&str| Peer {
                name: (*name).to_owned(),
                times: Err("peers have no batches; L must be 1".to_owned()),
            };
            return Ok(self.names.iter().map(refused).collect());
        }
        let answer = self.ask(&json!({
            "peers": self.names,
            "m": shape.m(),
            "n": shape.n(),
            "k": shape.k(),
            "sets": timing.sets,
            "rounds": timing.rounds,
            "replays": timing.replays,
            "warm_up_ms": timing.warm_up_ms,
        }))?;
        parse_peers(&answer)
    }

    fn ask(&mut self, request: &Value) -> Result<String, PeersError> {
        if let Some(requests) = &mut self.requests {
            // If Python has ended, what it said before tells why.
            match writeln!(requests, "{request}").and_then(|()| requests.flush()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
                _ => {}
            }
        }
        match self.answers.next() {
            Some(line) => Ok(line?),
            None => Err(PeersError::Ended {
                status: self.child.wait()?,
            }),
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // Ends its loop over requests.
        self.requests = None;
        // Nothing depends on how it ends.
        let _ = self.child.wait();
    }
}

/// `GPU-` and the UUID as `nvidia-smi -L` writes it.
fn visible_device(uuid: [u8; 16]) -> String {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let groups = [0..4, 4..6, 6..8, 8..10, 10..16].map(|range| hex(&uuid[range]));
    format!("GPU-{}", groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_become_peers() {
        use Against::*;
        assert_eq!(Against::names(&[Triton, TorchFp8]), ["torch-fp8", "triton"]);
        assert_eq!(Against::names(&[All, Triton]).len(), 4);
        assert_eq!(Against::names(&[TorchBf16]).len(), 2);
        // The program knows every one of them.
        for name in Against::names(&[All]) {
            assert!(PROGRAM.contains(&format!("\"{name}\": (")), "{name}");
        }
    }

    /// A shell in the place of Python.
    fn peers_of(script: &str) -> Peers {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        Peers::spawn(shell, vec!["triton"], tempfile::tempdir().unwrap()).unwrap()
    }

    const TIMING: Timing = Timing {
        sets: 7,
        replays: 100,
        rounds: 8,
        warm_up_ms: 50.0,
    };

    #[test]
    fn a_request_is_a_line_and_so_is_its_answer() {
        // Answers with the request as the reason of a failure.
        let mut peers = peers_of(
            r#"while read -r line; do
                 echo "$line" | sed 's/"/\\"/g; s/.*/{"peers": [{"peer": "triton", "error": "&"}]}/'
               done"#,
        );
        for m in [16, 32] {
            let shape = Shape::new(m, 64, 128, 1).unwrap();
            let found = peers.measure(&shape, &TIMING).unwrap();
            let request = found[0].times.as_ref().unwrap_err();
            let request: Value = serde_json::from_str(request).unwrap();
            let wanted = json!({
                "peers": ["triton"], "m": m, "n": 64, "k": 128,
                "sets": 7, "rounds": 8, "replays": 100, "warm_up_ms": 50.0,
            });
            assert_eq!(request, wanted);
        }
    }

    #[test]
    fn batches_are_not_asked_for() {
        let mut peers = peers_of("exit 3");
        let shape = Shape::new(16, 64, 128, 2).unwrap();
        let found = peers.measure(&shape, &TIMING).unwrap();
        assert!(found[0].times.as_ref().unwrap_err().contains("L must be 1"));
    }

    #[test]
    fn an_end_without_an_answer_is_an_error() {
        let error = peers_of("exit 3").describe(&TIMING, 64).unwrap_err();
        let PeersError::Ended { status } = error else {
            panic!("{error}");
        };
        assert_eq!(status.code(), Some(3));
        let missing = Command::new("no-such-python");
        let Err(error) = Peers::spawn(missing, vec![], tempfile::tempdir().unwrap()) else {
            panic!("there is no such program");
        };
        assert!(error.to_string().contains("pip install torch"), "{error}");
    }

    #[test]
    fn uuids_are_written_as_cuda_reads_them() {
        let uuid = std::array::from_fn(|index| 0x10 * index as u8 + 0x0a);
        assert_eq!(
            visible_device(uuid),
            "GPU-0a1a2a3a-4a5a-6a7a-8a9a-aabacadaeafa"
        );
    }
}
