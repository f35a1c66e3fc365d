//! `ldmatrix`, `stmatrix` and `movmatrix` (PTX ISA §9.7.14.5.15 to §9.7.14.5.17).

use ptx_emulator::machine::FailureKind;

use super::program::*;

const MATRIX_BYTES: usize = 128;

/// The 16-bit element at `row`, `column` of the matrix at `bytes`, whose rows follow one another.
fn element(bytes: &[u8], row: usize, column: usize) -> u32 {
    let at = 16 * row + 2 * column;
    u32::from(bytes[at]) | u32::from(bytes[at + 1]) << 8
}

/// What lane `lane` holds of a matrix: row lane / 4, elements 2·(lane % 4) and the next.
fn fragment(bytes: &[u8], lane: usize, transpose: bool) -> u32 {
    let (line, k) = (lane / 4, 2 * (lane % 4));
    match transpose {
        false => element(bytes, line, k) | element(bytes, line, k + 1) << 16,
        true => element(bytes, k, line) | element(bytes, k + 1, line) << 16,
    }
}

/// Lane l writes `registers` from `%r10` on to words l·8 and up of the output.
fn dump_registers(registers: usize) -> String {
    let mut text = "mul.wide.u32 %rd50, %r0, 32;\n add.u64 %rd50, %rd50, %rd0;\n".to_owned();
    for i in 0..registers {
        text += &format!("st.global.b32 [%rd50+{}], %r{};\n", 4 * i, 10 + i);
    }
    text
}

fn registers(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|i| format!("%r{}", 10 + i)).collect();
    format!("{{{}}}", names.join(", "))
}

/// The input's matrices at `smem + 64`; lane l gets the address of row l in `%r5`.
fn rows() -> String {
    let load = load_input(64, 4 * MATRIX_BYTES);
    format!("{BARRIERS}{load} shl.b32 %r5, %r2, 4; add.u32 %r5, %r5, %r1;")
}

/// Matrices loaded, transposed and stored.
pub fn example() -> Program {
    let text = format!(
        "{} ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {{%r10, %r11}}, [%r5+64];\n\
         movmatrix.sync.aligned.m8n8.trans.b16 %r10, %r10;\n\
         stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r5+64], {{%r10, %r11}};\n{}",
        rows(),
        dump_registers(2),
    );
    Program::with_input(&text, &noise(4 * MATRIX_BYTES))
}

#[test]
fn ldmatrix_gives_each_lane_two_elements_of_a_row() {
    let input = noise(4 * MATRIX_BYTES);
    for count in [1, 2, 4] {
        for transpose in [false, true] {
            let text = format!(
                "{} ldmatrix.sync.aligned.m8n8.x{count}{}.shared.b16 {}, [%r5+64];{}",
                rows(),
                if transpose { ".trans" } else { "" },
                registers(count),
                dump_registers(count),
            );
            let out = Program::with_input(&text, &input).run();
            for lane in 0..32 {
                for i in 0..count {
                    let matrix = &input[i * MATRIX_BYTES..];
                    let expected = fragment(matrix, lane, transpose);
                    assert_eq!(out[8 * lane + i], expected, "lane {lane}, matrix {i}");
                }
            }
        }
    }
}

#[test]
fn rows_lie_anywhere_and_addresses_may_be_generic() {
    let input = noise(4 * MATRIX_BYTES);
    // Lane l points to row 31 - l.
    let text = format!(
        "{} xor.b32 %r6, %r2, 31; shl.b32 %r6, %r6, 4; add.u32 %r6, %r6, %r1; cvt.u64.u32 %rd3, %r6;
        cvta.shared.u64 %rd3, %rd3;
        ldmatrix.sync.aligned.m8n8.x4.b16 {}, [%rd3+64];{}",
        rows(),
        registers(4),
        dump_registers(4),
    );
    let out = Program::with_input(&text, &input).run();
    let turned: Vec<u8> = input.rchunks_exact(16).flatten().copied().collect();
    for lane in 0..32 {
        for i in 0..4 {
            let expected = fragment(&turned[i * MATRIX_BYTES..], lane, false);
            assert_eq!(out[8 * lane + i], expected, "lane {lane}, matrix {i}");
        }
    }
}

#[test]
fn only_the_lanes_of_the_matrices_give_addresses() {
    let input = noise(4 * MATRIX_BYTES);
    let text = format!(
        "{} setp.ge.u32 %p0, %r2, 8; @%p0 mov.u32 %r5, 1;
        ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r10}}, [%r5+64];{}",
        rows(),
        dump_registers(1),
    );
    let out = Program::with_input(&text, &input).run();
    assert_eq!(out[8 * 31], fragment(&input, 31, false));
}

#[test]
fn stmatrix_is_the_inverse_of_ldmatrix() {
    let input = noise(4 * MATRIX_BYTES);
    for count in [1, 2, 4] {
        for transpose in [false, true] {
            let transposed = if transpose { ".trans" } else { "" };
            let text = format!(
                "{} ldmatrix.sync.aligned.m8n8.x{count}.shared.b16 {registers}, [%r5+64];
                {} stmatrix.sync.aligned.m8n8.x{count}{transposed}.shared::cta.b16 [%r5+1024], {registers};
                bar.sync 0; {}",
                rows(),
                clear_shared(1024, 4 * MATRIX_BYTES as u32),
                dump_shared(1024, 4 * MATRIX_BYTES as u32),
                registers = registers(count),
            );
            let out = Program::with_input(&text, &input).run_bytes();
            for i in 0..4 {
                let (from, to) = (&input[i * MATRIX_BYTES..], &out[i * MATRIX_BYTES..]);
                for row in 0..8 {
                    for column in 0..8 {
                        let expected = match (i < count, transpose) {
                            (false, _) => 0xEEEE,
                            (true, false) => element(from, row, column),
                            (true, true) => element(from, column, row),
                        };
                        assert_eq!(element(to, row, column), expected);
                    }
                }
            }
        }
    }
}

#[test]
fn movmatrix_transposes() {
    let input = noise(4 * MATRIX_BYTES);
    let text = format!(
        "{} ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r11}}, [%r5+64];
        movmatrix.sync.aligned.m8n8.trans.b16 %r10, %r11;{}",
        rows(),
        dump_registers(1),
    );
    let out = Program::with_input(&text, &input).run();
    for lane in 0..32 {
        assert_eq!(out[8 * lane], fragment(&input, lane, true), "lane {lane}");
    }
}

#[test]
fn rows_are_aligned_to_16_bytes_and_in_shared_memory() {
    let program = |offset: u32| {
        let text = format!(
            "shl.b32 %r5, %r2, 4; add.u32 %r5, %r5, %r1;
            ldmatrix.sync.aligned.m8n8.x4.shared.b16 {}, [%r5+{offset}];",
            registers(4)
        );
        Program::new(&text).fail_at("ldmatrix")
    };
    for offset in [1, 2, 4, 8] {
        assert!(matches!(program(offset), FailureKind::Misaligned { .. }));
    }
    assert!(matches!(
        program(SMEM_BYTES - 256),
        FailureKind::OutOfBounds { .. }
    ));
}

#[test]
fn the_whole_warp_takes_part() {
    let text = "setp.lt.u32 %p0, %r2, 8; shl.b32 %r5, %r2, 4; add.u32 %r5, %r5, %r1;
        @%p0 ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r10}, [%r5];";
    assert!(matches!(
        Program::new(text).fail_at("ldmatrix"),
        FailureKind::DivergentAligned { .. }
    ));
}

#[test]
fn narrower_elements_are_refused() {
    for instruction in [
        "ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8 {%r10, %r11}, [%r1];",
        "ldmatrix.sync.aligned.m8n16.x1.shared.b8x16.b4x16_p64 {%r10}, [%r1];",
        "stmatrix.sync.aligned.m16n8.x1.trans.shared.b8 [%r1], {%r10};",
    ] {
        let error = load_error(instruction);
        assert!(
            error.contains("(8-bit and narrower elements) is not supported"),
            "{error}"
        );
    }
}

#[test]
fn registers_are_counted_and_have_32_bits() {
    for (instruction, message) in [
        (
            "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r10}, [%r1];",
            "found 1 destinations, needs 2",
        ),
        (
            "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r1], {%r10, %r11};",
            "found 2 sources, needs 1",
        ),
        (
            "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%rs1}, [%r1];",
            "needs a register of 32 bits",
        ),
        (
            "movmatrix.sync.aligned.m8n8.trans.b16 %r10, %rd3;",
            "needs a register of 32 bits",
        ),
    ] {
        let error = load_error(instruction);
        assert!(error.contains(message), "{error}");
    }
}
