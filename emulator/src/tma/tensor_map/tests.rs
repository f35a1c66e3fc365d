//! What a map accepts, and that it survives memory.

use proptest::prelude::*;

use super::*;

/// A K-major FP4 operand of 512 × 1024 elements, loaded in tiles of 128 × 256.
const FP4: TiledDescription = TiledDescription {
    data_type: DataType::U4x16Align8,
    global_address: 0x7000_0000,
    global_dims: &[1024, 512],
    global_strides: &[512],
    box_dims: &[256, 128],
    element_strides: &[1, 1],
    interleave: Interleave::None,
    swizzle: Swizzle::B128,
    l2_promotion: L2Promotion::L2B128,
    out_of_bounds: OutOfBoundsFill::Zero,
};

const F32: TiledDescription = TiledDescription {
    data_type: DataType::Float32,
    global_strides: &[4096],
    box_dims: &[32, 128],
    ..FP4
};

#[test]
fn an_fp4_operand_tile_is_128_rows_of_128_bytes() {
    let map = TensorMap::encode_tiled(&FP4).unwrap();
    assert_eq!(map.row_bytes(), 128);
    assert_eq!(map.tile_bytes(), 128 * 128);
    assert_eq!(TensorMap::from_bytes(&map.to_bytes()), Ok(map));
}

#[test]
fn every_encode_rule_is_enforced() {
    use TensorMapError as E;
    let error = |d: TiledDescription| TensorMap::encode_tiled(&d).unwrap_err();
    let gapped = DataType::U4x16Align16;

    assert_eq!(
        error(TiledDescription {
            global_dims: &[],
            ..FP4
        }),
        E::Rank { rank: 0 }
    );
    assert!(matches!(
        error(TiledDescription {
            global_strides: &[],
            ..FP4
        }),
        E::Lengths {
            what: "globalStrides",
            found: 0,
            needed: 1,
            rank: 2
        }
    ));
    assert!(matches!(
        error(TiledDescription {
            interleave: Interleave::B16,
            ..FP4
        }),
        E::Interleave { .. }
    ));
    assert!(matches!(
        error(TiledDescription {
            global_address: 0x7000_0008,
            ..FP4
        }),
        E::GlobalAddress { alignment: 16, .. }
    ));
    assert!(matches!(
        error(TiledDescription {
            data_type: gapped,
            global_address: 0x7000_0010,
            ..FP4
        }),
        E::GlobalAddress { alignment: 32, .. }
    ));
    assert_eq!(
        error(TiledDescription {
            global_dims: &[1024, 0],
            ..FP4
        }),
        E::GlobalDim {
            dimension: 1,
            found: 0
        }
    );
    assert_eq!(
        error(TiledDescription {
            global_dims: &[1024, (1 << 32) + 1],
            ..FP4
        }),
        E::GlobalDim {
            dimension: 1,
            found: (1 << 32) + 1
        }
    );
    assert!(matches!(
        error(TiledDescription {
            global_dims: &[1023, 512],
            ..FP4
        }),
        E::InnerDimMultiple { multiple: 2, .. }
    ));
    assert!(matches!(
        error(TiledDescription {
            data_type: gapped,
            global_dims: &[1000, 512],
            ..FP4
        }),
        E::InnerDimMultiple { multiple: 128, .. }
    ));
    assert!(matches!(
        error(TiledDescription {
            global_strides: &[520],
            ..FP4
        }),
        E::StrideMultiple { multiple: 16, .. }
    ));
    assert!(matches!(
        error(TiledDescription {
            global_strides: &[1 << 40],
            ..FP4
        }),
        E::StrideRange { .. }
    ));
    assert_eq!(
        error(TiledDescription {
            box_dims: &[256, 257],
            ..FP4
        }),
        E::BoxDim {
            dimension: 1,
            found: 257
        }
    );
    assert!(matches!(
        error(TiledDescription {
            box_dims: &[30, 128],
            ..FP4
        }),
        E::InnerBoxMultiple { elements: 30, .. }
    ));
    assert!(matches!(
        error(TiledDescription {
            swizzle: Swizzle::B64,
            ..FP4
        }),
        E::InnerBoxSpan {
            bytes: 128,
            span: 64,
            ..
        }
    ));
    assert_eq!(
        error(TiledDescription {
            element_strides: &[1, 9],
            ..FP4
        }),
        E::ElementStride {
            dimension: 1,
            found: 9
        }
    );
    assert!(matches!(
        error(TiledDescription {
            data_type: gapped,
            box_dims: &[32, 128],
            swizzle: Swizzle::B32,
            ..FP4
        }),
        E::SwizzleOfType { .. }
    ));
    assert!(matches!(
        error(TiledDescription {
            out_of_bounds: OutOfBoundsFill::NanRequestZeroFma,
            ..FP4
        }),
        E::NanFill { .. }
    ));
    let nan = TiledDescription {
        out_of_bounds: OutOfBoundsFill::NanRequestZeroFma,
        ..F32
    };
    assert!(TensorMap::encode_tiled(&nan).is_ok());
}

#[test]
fn foreign_bytes_are_refused() {
    assert!(matches!(
        TensorMap::from_bytes(&[0; 128]),
        Err(TensorMapError::Magic { found: 0, .. })
    ));
}

/// Every field, from zeroed memory: the same map as the driver encodes.
#[test]
fn a_map_can_be_built_field_by_field() {
    let map = TensorMap::encode_tiled(&TiledDescription {
        data_type: DataType::Bfloat16,
        global_address: 0x7000_0000,
        global_dims: &[1000, 300, 7],
        global_strides: &[2048, 1 << 20],
        box_dims: &[64, 256, 1],
        element_strides: &[1, 2, 8],
        interleave: Interleave::None,
        swizzle: Swizzle::B128Atom32,
        l2_promotion: L2Promotion::None,
        out_of_bounds: OutOfBoundsFill::NanRequestZeroFma,
    })
    .unwrap();
    let mut bytes = [0; TENSOR_MAP_BYTES];
    for (field, value) in [
        (Field::GlobalAddress, 0x7000_0000),
        (Field::Rank, 2),
        (Field::GlobalDim(0), 1000),
        (Field::GlobalDim(1), 300),
        (Field::GlobalDim(2), 7),
        (Field::GlobalStride(0), 2048),
        (Field::GlobalStride(1), 1 << 20),
        (Field::BoxDim(0), 64),
        (Field::BoxDim(1), 256),
        (Field::BoxDim(2), 1),
        (Field::ElementStride(0), 1),
        (Field::ElementStride(1), 2),
        (Field::ElementStride(2), 8),
        (Field::ElementType, 10),
        (Field::InterleaveLayout, 0),
        (Field::SwizzleMode, 3),
        (Field::SwizzleAtomicity, 1),
        (Field::FillMode, 1),
    ] {
        replace(&mut bytes, field, value).unwrap();
    }
    assert_eq!(TensorMap::from_bytes(&bytes), Ok(map));
}

#[test]
fn replacements_have_their_ranges() {
    let mut bytes = TensorMap::encode_tiled(&FP4).unwrap().to_bytes();
    for (field, value) in [
        (Field::Rank, 5),
        (Field::BoxDim(0), 0),
        (Field::BoxDim(1), 257),
        (Field::GlobalDim(0), 0),
        (Field::ElementStride(0), 9),
        (Field::ElementType, 16),
        (Field::SwizzleMode, 4),
        (Field::SwizzleAtomicity, 4),
        (Field::FillMode, 2),
    ] {
        let error = replace(&mut bytes, field, value).unwrap_err();
        assert!(
            matches!(error, TensorMapError::Replacement { found, .. } if found == value),
            "{error}"
        );
    }
    bytes[30] ^= 1;
    assert!(matches!(
        replace(&mut bytes, Field::Rank, 1),
        Err(TensorMapError::Checksum { .. })
    ));
}

proptest! {
    #[test]
    fn maps_survive_memory_and_trampling_is_noticed(
        rows in 1u64..=1 << 32,
        row_bytes in 1u64..1 << 36,
        box_rows in 1u32..=256,
        stride in 1u32..=8,
        byte in 0usize..TENSOR_MAP_BYTES,
        flip in 1u8..,
    ) {
        let map = TensorMap::encode_tiled(&TiledDescription {
            global_dims: &[1024, rows],
            global_strides: &[row_bytes << 4],
            box_dims: &[256, box_rows],
            element_strides: &[1, stride],
            ..FP4
        }).unwrap();
        let mut bytes = map.to_bytes();
        prop_assert_eq!(TensorMap::from_bytes(&bytes), Ok(map));
        bytes[byte] ^= flip;
        prop_assert!(TensorMap::from_bytes(&bytes).is_err());
    }
}
