//! stub
use crate::worker::Worker; use crate::directory::Caller; use tollgate_core::{id::RequestId, points::Micropoints, time::Timestamp};
pub(crate) async fn hold(_w: &Worker, _m: &str, _c: &Caller, _i: RequestId, _a: Micropoints, _t: Timestamp) -> Result<(), std::io::Error> { Ok(()) }
pub(crate) async fn settle(_s: &crate::shared::Shared, _p: Box<super::charge::Pending>) {}
