//! AWS's errors in the format of each service.

use crate::call::{Call, Dialect};

/// A cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too many calls.
    Throttled,
    /// An internal error of AWS.
    Broken,
    /// AWS is unavailable.
    Away,
    /// The caller has no permission.
    Denied,
    /// The caller's credentials have expired.
    Expired,
    /// An error of one action only: status, code.
    Other(u16, &'static str),
}

impl Why {
    /// The status and the code of the service.
    pub fn code(self, dialect: Dialect) -> (u16, &'static str) {
        match (self, dialect) {
            (Why::Throttled, Dialect::Ec2) => (503, "RequestLimitExceeded"),
            (Why::Throttled, Dialect::Query) => (400, "Throttling"),
            (Why::Throttled, Dialect::Json) => (400, "ThrottlingException"),
            (Why::Throttled, Dialect::S3) => (503, "SlowDown"),
            (Why::Broken, Dialect::Ec2 | Dialect::S3) => (500, "InternalError"),
            (Why::Broken, Dialect::Query) => (500, "InternalFailure"),
            (Why::Broken, Dialect::Json) => (500, "InternalServerError"),
            (Why::Away, Dialect::Ec2) => (503, "Unavailable"),
            (Why::Away, _) => (503, "ServiceUnavailable"),
            (Why::Denied, Dialect::Ec2) => (403, "UnauthorizedOperation"),
            (Why::Denied, Dialect::Json) => (400, "AccessDeniedException"),
            (Why::Denied, _) => (403, "AccessDenied"),
            (Why::Expired, Dialect::Ec2) => (400, "RequestExpired"),
            (Why::Expired, Dialect::Query) => (403, "ExpiredToken"),
            (Why::Expired, Dialect::Json) => (400, "ExpiredTokenException"),
            (Why::Expired, Dialect::S3) => (400, "ExpiredToken"),
            (Why::Other(status, code), _) => (status, code),
        }
    }

    /// The complete response.
    pub fn answer(self, call: &Call) -> Vec<u8> {
        let dialect = call.dialect();
        let (status, code) = self.code(dialect);
        let (kind, body) = dialect.error(code, "It was asked for by a test.");
        let head =
            format!("HTTP/1.1 {status} Refused\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
        if call.head_only { head.into_bytes() } else { format!("{head}{body}").into_bytes() }
    }
}

impl Dialect {
    /// An error's content type and body.
    fn error(self, code: &str, message: &str) -> (&'static str, String) {
        let error = format!("<Code>{code}</Code><Message>{message}</Message>");
        match self {
            Dialect::Ec2 => (
                "text/xml",
                format!("<Response><Errors><Error>{error}</Error></Errors><RequestID>r</RequestID></Response>"),
            ),
            Dialect::Query => {
                ("text/xml", format!("<ErrorResponse><Error>{error}</Error><RequestId>r</RequestId></ErrorResponse>"))
            }
            Dialect::Json => {
                ("application/x-amz-json-1.1", format!("{{\"__type\":\"{code}\",\"message\":\"{message}\"}}"))
            }
            Dialect::S3 => ("application/xml", format!("<Error>{error}</Error>")),
        }
    }
}
