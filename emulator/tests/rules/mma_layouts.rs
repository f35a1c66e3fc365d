//! `tcgen05.mma`: where A, B and D lie (PTX ISA §9.7.16.3, §9.7.16.10).

use super::mma::{A_AT, B_AT, SFA, kernel};
use super::mma_product::*;
use super::program::*;

/// The M- and N-major layouts of 16- and 8-bit elements.
pub const TRANSPOSED: [Major; 4] = [
    Major::transposed(2, 128),
    Major::transposed(4, 64),
    Major::transposed(6, 32),
    Major {
        // Chunks of 16 bytes along M or N lie `stride` apart, groups of 8 k `leading`.
        leading: 8192,
        stride: 128,
        ..Major::transposed(0, 16)
    },
];

/// Layout F: 16 rows in each quarter of the lanes, from lane 0 or 16 on.
#[test]
fn products_of_64_rows_take_half_of_the_lanes() {
    let product = Product::new("f16", [BF16; 2], 64, 96);
    for first in [0, 16] {
        let body = product.mma("%p18").replace(
            "@%p31 tcgen05.mma",
            &format!("add.u32 %r23, %r23, {:#x};\n@%p31 tcgen05.mma", first << 16),
        );
        product.check_words(
            &body,
            |m| lane_of_64(m) + first,
            |m, n| f32_bits(product.dot(m, n)),
        );
    }
}

/// D of 64 rows leaves the other lanes to others.
#[test]
fn an_mma_of_64_rows_conflicts_in_its_own_lanes_only() {
    let product = Product::new("f16", [F16; 2], 64, 16);
    let read = |lane: u32| {
        product.mma("%p18")
            + &format!(
                "add.u32 %r50, %r4, {:#x};\n\
                 tcgen05.ld.sync.aligned.16x64b.x1.b32 {{%r51}}, [%r50];\ntcgen05.wait::ld.sync.aligned;\n",
                lane << 16
            )
    };
    product.program(&read(16)).run();
    let race = product.program(&read(0)).race_late();
    assert_eq!(race.operation, "tcgen05.mma");
}

#[test]
fn operands_of_16_and_8_bits_may_be_m_and_n_major() {
    for (kind, ty) in [("f16", F16), ("f8f6f4", E4M3)] {
        for major in TRANSPOSED {
            // Four blocks of the swizzle's rows along N, as far as N goes.
            let n = match major.mode {
                0 => 128,
                _ => (4 * major.span * 8 / ty.bits).min(256) as usize,
            };
            let product = Product::new(kind, [ty; 2], 128, n).majors(K_MAJOR, major);
            product.check(&product.mma("%p18"), |m, n| product.dot(m, n));
            let product = Product::new(kind, [ty; 2], 64, 32).majors(major, K_MAJOR);
            product.check_words(&product.mma("%p18"), lane_of_64, |m, n| {
                f32_bits(product.dot(m, n))
            });
        }
    }
}

/// The swizzle with 32-byte atoms, four k each.
#[test]
fn operands_of_32_bits_may_be_m_and_n_major() {
    let major = Major::transposed(1, 128);
    let product = Product::new("tf32", [TF32; 2], 64, 64).majors(major, major);
    product.check_words(&product.mma("%p18"), lane_of_64, |m, n| {
        f32_bits(product.dot(m, n))
    });
}

/// PTX ISA §9.7.16.10.1, §9.7.16.10.3.
#[test]
fn transposes_go_with_their_swizzles() {
    let atoms = Major::transposed(1, 128);
    for (kind, ty, major) in [
        ("f16", F16, atoms),
        ("f8f6f4", E5M2, atoms),
        ("tf32", TF32, TRANSPOSED[0]),
        ("tf32", TF32, TRANSPOSED[3]),
        (
            "f16",
            F16,
            Major {
                transposed: false,
                ..atoms
            },
        ),
    ] {
        let product = Product::new(kind, [ty; 2], 128, 32);
        let product = product.majors(
            K_MAJOR,
            Major {
                leading: 0,
                ..major
            },
        );
        product.refused("%p18", "does not go with");
    }
    for ty in [E2M3, E2M1] {
        let mut product = Product::new("f8f6f4", [E4M3, ty], 128, 32);
        product.more |= 1 << 16;
        product.refused("%p18", "cannot transpose B");
    }
    let odd = Major {
        leading: 512,
        ..TRANSPOSED[0]
    };
    let mut product = Product::new("f16", [F16; 2], 128, 128);
    product.more |= 1 << 16;
    let text = product.mma("%p18").replace(
        &format!("{:#x}", K_MAJOR.descriptor(B_AT)),
        &format!("{:#x}", odd.descriptor(B_AT)),
    );
    product
        .program(&text)
        .fail_with("tcgen05.mma", "leading offset 512");
}

/// Each lane holds the 32 bytes of its row in eight columns.
#[test]
fn a_may_lie_in_tensor_memory() {
    for (kind, ty, m, first) in [
        ("f16", F16, 128, 0),
        ("tf32", TF32, 128, 0),
        ("f8f6f4", E5M2, 128, 0),
        ("mxf4nvf4.block_scale.block16", E2M1, 128, 0),
        ("f16", BF16, 64, 0),
        ("f16", BF16, 64, 16),
    ] {
        let mut product = Product::new(kind, [ty; 2], m, 64);
        if kind.contains("mx") {
            product = product.scaled();
        }
        let lane = |row: usize| match m {
            64 => lane_of_64(row) + first,
            _ => row,
        };
        // Row after row, at the place of A in shared memory, by lanes.
        let mut image = product.image();
        for row in 0..m {
            let to = 32 * lane(row);
            image[to..to + 32].copy_from_slice(&product.a.bytes(row));
        }
        let words: Vec<String> = (0..8).map(|i| format!("%r{}", 40 + i)).collect();
        let mut store = String::from("shl.b32 %r50, %r0, 5;\nadd.u32 %r50, %r50, %r1;\n");
        for (i, word) in words.iter().enumerate() {
            store += &format!("ld.shared.u32 {word}, [%r50+{}];\n", A_AT as usize + 4 * i);
        }
        store += &format!(
            "add.u32 %r51, %r4, 400;\ntcgen05.st.sync.aligned.32x32b.x8.b32 [%r51], {{{}}};\n\
             {STORED}",
            words.join(", ")
        );
        let mma = product.mma("%p18").replace(
            "@%p31 tcgen05.mma",
            &format!(
                "add.u32 %r51, %r51, {0:#x};\nadd.u32 %r23, %r23, {0:#x};\n@%p31 tcgen05.mma",
                first << 16
            ),
        );
        let mma = mma.replace("[%r23], %rd21", "[%r23], [%r51]");
        let out = Program::with_input(&kernel(&(store + &mma)), &image)
            .threads(128)
            .run();
        for row in 0..m {
            for n in 0..64 {
                let wanted = product.dot_scaled(
                    row,
                    n,
                    if kind.contains("mx") { 16 } else { usize::MAX },
                    [0; 2],
                );
                let found = out[lane(row) * SFA as usize + n];
                assert_eq!(found, f32_bits(wanted), "{kind} {m} D[{row}, {n}]");
            }
        }
    }
}

#[test]
fn a_in_tensor_memory_has_its_own_rules() {
    let at = |product: &Product, address: u32| {
        product
            .mma("%p18")
            .replace(
                "@%p31 tcgen05.mma",
                &format!("add.u32 %r51, %r4, {address:#x};\n@%p31 tcgen05.mma"),
            )
            .replace("[%r23], %rd21", "[%r23], [%r51]")
    };
    let f16 = Product::new("f16", [F16; 2], 128, 64);
    let half = Product::new("f16", [F16; 2], 64, 64);
    for (product, address, message) in [
        (&f16, 16 << 16 | 400, "A at lane 16"),
        (&half, 16 << 16 | 400, "the same as D"),
        (&f16, 60, "overlaps"),
        (&f16, 508, "there are 512"),
        (
            &Product::new("f8f6f4", [E2M1; 2], 128, 64),
            400,
            "4-bit elements",
        ),
        (
            &Product::new("f8f6f4", [E3M2; 2], 128, 64),
            400,
            "6-bit elements",
        ),
        (
            &Product::new("f16", [F16; 2], 128, 64).more(1 << 15),
            400,
            "M-major A",
        ),
    ] {
        product
            .program(&at(product, address))
            .fail_with("tcgen05.mma", message);
    }
}
