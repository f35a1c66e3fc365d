//! What a kernel can be launched with.

use std::borrow::Cow;

use super::buffer::{Buffer, Element};
use crate::tma::TensorMap;

/// An argument for one `.param` of a kernel: a number, a buffer (its address), a tensor map or a
/// block of bytes.
pub trait Parameter {
    /// Its bytes in the parameter buffer.
    fn bytes(&self) -> Cow<'_, [u8]>;
    /// What it is, for messages.
    fn kind(&self) -> Cow<'static, str>;
}

impl<T: Element> Parameter for T {
    fn bytes(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; T::BYTES];
        self.put(&mut bytes);
        bytes.into()
    }

    fn kind(&self) -> Cow<'static, str> {
        T::NAME.into()
    }
}

impl<T: Element> Parameter for Buffer<'_, T> {
    fn bytes(&self) -> Cow<'_, [u8]> {
        self.address().to_le_bytes().to_vec().into()
    }

    fn kind(&self) -> Cow<'static, str> {
        format!("the address of a buffer of {}", T::NAME).into()
    }
}

impl Parameter for TensorMap {
    fn bytes(&self) -> Cow<'_, [u8]> {
        self.to_bytes().to_vec().into()
    }

    fn kind(&self) -> Cow<'static, str> {
        "a tensor map".into()
    }
}

/// A structure passed by value: its bytes as the kernel reads them.
#[derive(Clone, Copy, Debug)]
pub struct ByValue<'a>(pub &'a [u8]);

impl Parameter for ByValue<'_> {
    fn bytes(&self) -> Cow<'_, [u8]> {
        self.0.into()
    }

    fn kind(&self) -> Cow<'static, str> {
        "a block".into()
    }
}
