//! Module-scope `.global` and `.const` variables: their images and addresses (PTX ISA §5.4).

use std::collections::HashMap;

use super::super::alu::{Format, Rounding};
use super::super::load::{DecodeError, LoadError, VariableImage};
use super::modifiers::declared_bits;
use super::scope::{Variable, VariableSpace};
use super::{Decoded, decode_error};
use crate::ptx::ast::{self, Initializer, Space};

/// Bytes that one variable may have. Larger ones would only be a way to exhaust the host.
const MAX_BYTES: u64 = 1 << 32;

pub(super) struct Placed<'a> {
    pub variables: HashMap<&'a str, Variable>,
    /// Address and size by name, for the driver.
    pub globals: HashMap<String, (u64, u64)>,
}

pub(super) fn place_variables<'a>(
    tree: &'a ast::Module,
    text: &[String],
    allocate: &mut dyn FnMut(&VariableImage) -> Result<u64, String>,
    errors: &mut Vec<DecodeError>,
) -> Result<Placed<'a>, LoadError> {
    let mut placed = Placed {
        variables: HashMap::new(),
        globals: HashMap::new(),
    };
    for variable in &tree.variables {
        let space = match variable.space {
            Space::Global => VariableSpace::Global,
            Space::Const => VariableSpace::Const,
            // Laid out for each kernel that uses them.
            Space::Shared => continue,
            space @ (Space::Local | Space::Param | Space::Reg) => {
                let message =
                    format!("a module-scope variable in {space:?} memory is not supported");
                errors.push(decode_error(text, variable.line, message));
                continue;
            }
        };
        if variable.is_extern {
            // Only an error where an instruction names it: linking is not supported.
            continue;
        }
        let image = match image(variable, &placed.variables) {
            Ok(image) => image,
            Err(message) => {
                errors.push(decode_error(text, variable.line, message));
                continue;
            }
        };
        let bytes = image.bytes.len() as u64;
        let address = allocate(&image).map_err(|reason| LoadError::Allocation {
            name: image.name.clone(),
            bytes,
            reason,
        })?;
        let element = element_bytes(variable).unwrap_or(1);
        placed.variables.insert(
            &variable.name,
            Variable {
                space,
                address,
                element,
            },
        );
        placed
            .globals
            .insert(variable.name.clone(), (address, bytes));
    }
    Ok(placed)
}

/// Bytes of one element of the variable's declared type.
pub(super) fn element_bytes(variable: &ast::Variable) -> Decoded<u64> {
    match declared_bits(&variable.ty) {
        Some(bits @ 8..) => Ok(u64::from(bits / 8) * u64::from(variable.vector)),
        _ => Err(format!(
            "a variable of type `.{}` is not supported",
            variable.ty
        )),
    }
}

/// Bytes of the whole variable; an unsized first dimension takes its size from the initialiser.
pub(super) fn variable_bytes(variable: &ast::Variable) -> Decoded<u64> {
    let first = match &variable.initializer {
        Some(Initializer::List(list)) => list.len() as u64,
        _ => 0,
    };
    variable
        .dims
        .iter()
        .try_fold(element_bytes(variable)?, |bytes, dim| {
            bytes.checked_mul(dim.unwrap_or(first))
        })
        .filter(|bytes| *bytes <= MAX_BYTES)
        .ok_or_else(|| format!("`{}` has more than {MAX_BYTES} bytes", variable.name))
}

fn image(variable: &ast::Variable, placed: &HashMap<&str, Variable>) -> Decoded<VariableImage> {
    let size = variable_bytes(variable)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size as usize).map_err(|_| {
        format!(
            "`{}` has {size} bytes, more than the host can give",
            variable.name
        )
    })?;
    bytes.resize(size as usize, 0);
    if let Some(initializer) = &variable.initializer {
        let scalar = (element_bytes(variable)? / u64::from(variable.vector)) as usize;
        let mut dims: Vec<u64> = variable.dims.iter().map(|dim| dim.unwrap_or(0)).collect();
        if variable.vector > 1 {
            dims.push(u64::from(variable.vector));
        }
        // The stride of each nesting level; the first dimension's own extent does not matter.
        let mut strides = vec![scalar; dims.len()];
        for level in (1..dims.len()).rev() {
            strides[level - 1] = strides[level].saturating_mul(dims[level] as usize);
        }
        fill(
            initializer,
            &variable.ty,
            scalar,
            &strides,
            &mut bytes,
            placed,
        )?;
    }
    Ok(VariableImage {
        name: variable.name.clone(),
        align: u64::from(variable.align),
        bytes,
    })
}

fn fill(
    initializer: &Initializer,
    ty: &str,
    scalar: usize,
    strides: &[usize],
    bytes: &mut [u8],
    placed: &HashMap<&str, Variable>,
) -> Decoded<()> {
    if let Initializer::List(list) = initializer {
        let Some((stride, inner)) = strides.split_first() else {
            return Err("the initialiser has more levels than the variable has dimensions".into());
        };
        for (index, element) in list.iter().enumerate() {
            let start = index.saturating_mul(*stride);
            let Some(rest) = bytes
                .get_mut(start..)
                .filter(|rest| rest.len() >= *stride && *stride > 0)
            else {
                return Err("the initialiser has more values than the variable".into());
            };
            fill(element, ty, scalar, inner, &mut rest[..*stride], placed)?;
        }
        return Ok(());
    }
    let value = scalar_bits(initializer, ty, placed)?;
    let Some(target) = bytes.get_mut(..scalar) else {
        return Err("the initialiser has more values than the variable".into());
    };
    target.copy_from_slice(&value.to_le_bytes()[..scalar]);
    Ok(())
}

fn scalar_bits(
    initializer: &Initializer,
    ty: &str,
    placed: &HashMap<&str, Variable>,
) -> Decoded<u128> {
    let format = match ty {
        "f16" => Some(Format::F16),
        "bf16" => Some(Format::Bf16),
        "f32" => Some(Format::F32),
        "f64" => Some(Format::F64),
        _ => None,
    };
    let convert = |from: Format, code: u64| match format {
        Some(to) if to != from => to.encode(from.decode(code), Rounding::NearestEven, false),
        _ => code,
    };
    match initializer {
        Initializer::Int(value) if format.is_none() => Ok(*value as u128),
        Initializer::Int(value) => Err(format!("found the integer {value}, needs a `.{ty}` value")),
        Initializer::F32(code) => Ok(convert(Format::F32, u64::from(*code)).into()),
        Initializer::F64(code) => Ok(convert(Format::F64, *code).into()),
        // Global addresses are generic addresses, so `generic(…)` changes nothing.
        Initializer::Symbol { name, offset, .. } => match placed.get(name.as_str()) {
            Some(variable) => Ok(variable.address.wrapping_add_signed(*offset).into()),
            None => Err(format!(
                "`{name}` is no variable defined above, so its address is not known"
            )),
        },
        Initializer::List(_) => Err("found a list, needs one value".into()),
    }
}
