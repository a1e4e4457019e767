//! Resumable uploads by tus 1.0 (https://tus.io/protocols/resumable-upload), on the store's resumable uploads.

mod address;
mod fields;
mod ids;

pub use address::Address;
pub use fields::{CHECKSUMS, Checksum, EXTENSIONS, Metadata, TusFields, VERSION, meant};
pub use ids::UploadIds;
