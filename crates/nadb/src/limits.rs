//! The limits of the public face, and checks for those who want to know before they write.
//!
//! Every write is checked anyway: input beyond a limit is an error of kind [`Limit`](crate::ErrorKind::Limit) or
//! [`InvalidInput`](crate::ErrorKind::InvalidInput) that names field, value and limit, and nothing is written.
//!
//! ```
//! use nadb::limits;
//! assert!(limits::check_key(b"user:123").is_ok());
//! let error = limits::check_key(b"").unwrap_err();
//! assert_eq!(error.to_string(), "key has 0 bytes, the limit is 1 to 65535 bytes");
//! assert!(limits::check_value_len(5 << 30).is_err());
//! assert_eq!(limits::VALUE_BYTES_MAX, 64 << 20);
//! ```

pub use nadb_core::limits::{
    ATTRS_BYTES_MAX, ATTRS_MAX, BATCH_BYTES_MAX, BLOB_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, EXPIRY_MS_MAX,
    FILTER_DEPTH_MAX, FILTER_TERMS_MAX, KEY_BYTES_MAX, NAMESPACE_BYTES_MAX, QUERY_TEXT_BYTES_MAX,
    TAG_BYTES_MAX, TAGS_MAX, VALUE_BYTES_MAX, check_content_type, check_expiry, check_key, check_namespace,
    check_tag, check_ttl, check_value_len, check_value_len_max,
};
