//! What the peers answer, and the fastest of them.

use nvfp4_dual_gemm::bench::Summary;
use nvfp4_dual_gemm::bench::ceilings::{Arithmetic, ArithmeticSource};
use serde::Deserialize;

use super::peers::{FP8, PeersError};

/// What the peers run on.
#[derive(Clone, Debug)]
pub struct About {
    /// Versions of PyTorch, Triton and CUDA.
    pub software: String,
    /// Microseconds of a kernel that does nothing, replayed.
    pub empty_replay: Summary,
    /// The rate of a large bf16 product.
    pub arithmetic: Arithmetic,
}

/// What was measured of a peer on one shape.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As in `peers.py`.
    pub name: String,
    /// Its times, or why there are none.
    pub times: Result<Times, String>,
}

/// How long a peer takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// Microseconds of a single call on an idle device.
    pub replay: Summary,
    /// Microseconds of a call among many.
    pub back_to_back: Summary,
    /// ‖C − exact‖ / ‖exact‖ for the peer's own operands.
    pub relative_error: f64,
    /// The tile that tuning chose.
    pub tuned: Option<String>,
}

#[derive(Deserialize)]
struct RawAbout {
    torch: String,
    triton: String,
    cuda: String,
    empty_replay_us: Vec<f64>,
    arithmetic_flop: f64,
    arithmetic_us: Vec<f64>,
}

#[derive(Deserialize)]
struct RawPeers {
    peers: Vec<RawPeer>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawPeer {
    Failed {
        peer: String,
        error: String,
    },
    Timed {
        peer: String,
        relative_error: f64,
        replay_us: Vec<f64>,
        in_row_us: Vec<f64>,
        tuned: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Refusal {
    MissingModule { missing_module: String },
    Unable { error: String },
}

fn parse<T: for<'a> Deserialize<'a>>(line: &str) -> Result<T, PeersError> {
    match serde_json::from_str(line) {
        Ok(Refusal::MissingModule { missing_module }) => {
            return Err(PeersError::MissingModule {
                module: missing_module,
            });
        }
        Ok(Refusal::Unable { error }) => return Err(PeersError::Unable { what: error }),
        Err(_) => {}
    }
    serde_json::from_str(line).map_err(|error| not_an_answer(line, error))
}

fn not_an_answer(line: &str, error: impl ToString) -> PeersError {
    PeersError::Answer {
        line: line.to_owned(),
        error: error.to_string(),
    }
}

fn summary(line: &str, samples: &[f64]) -> Result<Summary, PeersError> {
    Summary::of(samples).ok_or_else(|| not_an_answer(line, "no samples"))
}

pub fn parse_about(line: &str) -> Result<About, PeersError> {
    let raw: RawAbout = parse(line)?;
    let product = summary(line, &raw.arithmetic_us)?;
    Ok(About {
        software: format!(
            "PyTorch {}, Triton {}, CUDA {}",
            raw.torch, raw.triton, raw.cuda
        ),
        empty_replay: summary(line, &raw.empty_replay_us)?,
        arithmetic: Arithmetic {
            flop_per_second: raw.arithmetic_flop / (1e-6 * product.median),
            source: ArithmeticSource::Measured,
        },
    })
}

pub fn parse_peers(line: &str) -> Result<Vec<Peer>, PeersError> {
    let raw: RawPeers = parse(line)?;
    let peer = |raw| {
        Ok(match raw {
            RawPeer::Failed { peer, error } => Peer {
                name: peer,
                times: Err(error),
            },
            RawPeer::Timed {
                peer,
                relative_error,
                replay_us,
                in_row_us,
                tuned,
            } => Peer {
                name: peer,
                times: Ok(Times {
                    replay: summary(line, &replay_us)?,
                    back_to_back: summary(line, &in_row_us)?,
                    relative_error,
                    tuned,
                }),
            },
        })
    };
    raw.peers.into_iter().map(peer).collect()
}

/// A peer's median in one mode.
fn medians(peers: &[Peer], mode: impl Fn(&Times) -> Summary) -> impl Iterator<Item = (&str, f64)> {
    peers.iter().filter_map(move |peer| {
        let times = peer.times.as_ref().ok()?;
        Some((peer.name.as_str(), mode(times).median))
    })
}

/// The median of the fp8 peer in one mode.
pub fn fp8(peers: &[Peer], mode: impl Fn(&Times) -> Summary) -> Option<f64> {
    let mut found = medians(peers, mode).filter(|&(name, _)| name == FP8);
    found.next().map(|(_, median)| median)
}

/// The fastest bf16 peer in one mode, and its median.
pub fn best_bf16(peers: &[Peer], mode: impl Fn(&Times) -> Summary) -> Option<(&str, f64)> {
    let bf16 = medians(peers, mode).filter(|&(name, _)| name != FP8);
    bf16.min_by(|(_, one), (_, other)| one.total_cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: &str = r#"{"peers": [
        {"peer": "torch-bf16-eager", "relative_error": 0.003, "replay_us": [66.0, 64.0, 65.0], "in_row_us": [60.0]},
        {"peer": "torch-bf16-fused", "relative_error": 0.003, "replay_us": [50.0], "in_row_us": [46.0]},
        {"peer": "torch-fp8", "relative_error": 0.002, "replay_us": [31.0], "in_row_us": [26.0]},
        {"peer": "triton", "relative_error": 0.001, "replay_us": [51.0], "in_row_us": [45.0], "tuned": "BM: 16"}]}"#;

    #[test]
    fn the_best_bf16_peer_differs_by_mode() {
        let peers = parse_peers(PEERS).unwrap();
        assert_eq!(peers.len(), 4);
        let eager = peers[0].times.as_ref().unwrap();
        assert_eq!((eager.replay.median, eager.replay.count), (65.0, 3));
        assert_eq!(
            peers[3].times.as_ref().unwrap().tuned.as_deref(),
            Some("BM: 16")
        );
        let (replay, row) = (
            |times: &Times| times.replay,
            |times: &Times| times.back_to_back,
        );
        assert_eq!(best_bf16(&peers, replay), Some(("torch-bf16-fused", 50.0)));
        assert_eq!(best_bf16(&peers, row), Some(("triton", 45.0)));
        assert_eq!(fp8(&peers, replay), Some(31.0));
        assert_eq!(fp8(&peers[..2], replay), None);
        assert_eq!(best_bf16(&peers[2..3], replay), None);
    }

    #[test]
    fn a_peer_that_failed_says_why_and_is_not_compared() {
        let line = r#"{"peers": [{"peer": "torch-fp8", "error": "RuntimeError: no"},
            {"peer": "triton", "relative_error": 0.001, "replay_us": [51.0], "in_row_us": [45.0]}]}"#;
        let peers = parse_peers(line).unwrap();
        assert_eq!(peers[0].times.as_ref().unwrap_err(), "RuntimeError: no");
        assert_eq!(fp8(&peers, |times| times.replay), None);
        assert_eq!(
            best_bf16(&peers, |times| times.replay),
            Some(("triton", 51.0))
        );
    }

    #[test]
    fn the_arithmetic_ceiling_is_operations_over_the_median() {
        let line = r#"{"torch": "2.11.0", "triton": "3.6.0", "cuda": "13.0", "device": "H", "uuid": "0",
            "empty_replay_us": [3.0, 2.0, 9.0], "arithmetic_flop": 1.0e12, "arithmetic_us": [1000, 1250, 5000]}"#;
        let about = parse_about(line).unwrap();
        assert_eq!(about.software, "PyTorch 2.11.0, Triton 3.6.0, CUDA 13.0");
        assert_eq!(about.empty_replay.median, 3.0);
        assert!((about.arithmetic.flop_per_second / 800e12 - 1.0).abs() < 1e-12);
        assert_eq!(about.arithmetic.source, ArithmeticSource::Measured);
    }

    #[test]
    fn refusals_and_nonsense_are_told_apart() {
        let error = |line| parse_peers(line).unwrap_err().to_string();
        let missing = error(r#"{"missing_module": "triton"}"#);
        assert!(
            missing.starts_with("python3 has no module triton; --against needs"),
            "{missing}"
        );
        assert!(missing.contains("pip install torch"));
        assert!(
            error(r#"{"error": "torch is 2.1"}"#)
                .contains("can't run: torch is 2.1; --against needs")
        );
        assert!(error("Traceback").starts_with("python3 answered \"Traceback\": "));
        let none = r#"{"peers": [{"peer": "triton", "relative_error": 0, "replay_us": [], "in_row_us": [1]}]}"#;
        assert!(error(none).ends_with("no samples"));
    }
}
