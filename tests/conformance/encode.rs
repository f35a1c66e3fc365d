//! What `cuTensorMapEncodeTiled` takes. The output is its status.

use nvfp4_dual_gemm::driver::api::{
    TensorMapDataType as Type, TensorMapFill, TensorMapSwizzle as Swizzle,
};

use super::case::{Case, Map};

/// A map that is taken.
fn good() -> Map {
    Map::dense(Type::Uint32, &[64, 16], &[32, 8])
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Map)| {
        let mut map = good();
        change(&mut map);
        cases.push(Case {
            name: format!("encode {what}"),
            launches: Vec::new(),
            map: Some(map),
            input: vec![0; 4096],
            output: Vec::new(),
        });
    };
    add("a good map".to_owned(), &|_| {});
    for offset in [1, 4, 8, 16, 32] {
        add(format!("address {offset}"), &|map| map.offset = offset);
    }
    for dim in [0, 1, 1 << 32, (1 << 32) + 1] {
        add(format!("dimension of {dim}"), &|map| map.dims[1] = dim);
    }
    for stride in [0, 8, 16, 24, 240, 256, (1 << 40) - 16, 1 << 40] {
        add(format!("stride of {stride}"), &|map| {
            map.strides[0] = stride
        });
    }
    for extent in [0, 1, 256, 257] {
        add(format!("box of {extent} rows"), &|map| {
            map.box_dims[1] = extent
        });
    }
    for extent in [1, 2, 3, 4, 5, 256, 257] {
        add(format!("box of {extent} words"), &|map| {
            map.box_dims[0] = extent
        });
    }
    for (swizzle, words) in [
        (Swizzle::B32, [4, 8, 12]),
        (Swizzle::B64, [8, 16, 20]),
        (Swizzle::B128, [16, 32, 36]),
        (Swizzle::B128Atom32, [16, 32, 36]),
        (Swizzle::B128Atom32Flip8, [16, 32, 36]),
        (Swizzle::B128Atom64, [16, 32, 36]),
    ] {
        for extent in words {
            add(format!("{swizzle:?} of {extent} words"), &|map| {
                map.swizzle = swizzle;
                map.box_dims[0] = extent;
            });
        }
    }
    for stride in [0, 1, 2, 8, 9] {
        add(format!("element stride of {stride}"), &|map| {
            map.options.element_strides = Some([1, stride, 1, 1, 1]);
        });
        add(
            format!("element stride of {stride} in dimension 0"),
            &|map| {
                map.options.element_strides = Some([stride, 1, 1, 1, 1]);
            },
        );
    }
    for data_type in [
        Type::Uint8,
        Type::Uint16,
        Type::Uint32,
        Type::Int32,
        Type::Uint64,
        Type::Int64,
        Type::Float16,
        Type::Float32,
        Type::Float64,
        Type::Bfloat16,
        Type::Float32Ftz,
        Type::Tfloat32,
        Type::Tfloat32Ftz,
    ] {
        add(format!("{data_type:?} filled with NaN"), &|map| {
            map.data_type = data_type;
            map.options.fill = TensorMapFill::Nan;
        });
    }
    for data_type in [Type::U4x16Align8, Type::U4x16Align16, Type::U6x16Align16] {
        for swizzle in [Swizzle::None, Swizzle::B128] {
            add(format!("{data_type:?} {swizzle:?}"), &|map| {
                map.data_type = data_type;
                map.dims = vec![256, 8];
                map.strides = vec![256];
                map.box_dims = vec![128, 8];
                map.swizzle = swizzle;
            });
        }
    }
    cases
}
