//! The account's plan, by `freetier:GetAccountPlanState`: one signed POST, which avoids another crate of the SDK.
//!
//! The service has one endpoint, in us-east-1, and only the commercial partition has plans.
//! <https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_freetier_GetAccountPlanState.html>

use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_ec2::config::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::redirect::Policy;
use serde_json::Value;

use super::time::ahead;
use super::{ApiError, endpoints};
use crate::base::error::innermost;

const ACTION: &str = "freetier:GetAccountPlanState";
const ENDPOINT: &str = "https://freetier.us-east-1.api.aws";
const REGION: &str = "us-east-1";
const HEADERS: [(&str, &str); 2] =
    [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "AWSFreeTierService.GetAccountPlanState")];
const BODY: &str = "{}";

/// The account's plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountPlan {
    /// True for the free plan, false for the paid plan.
    pub free: bool,
    /// `NOT_STARTED`, `ACTIVE` or `EXPIRED`.
    pub status: String,
    /// The remaining credits: the amount and its currency.
    pub credits: Option<(f64, String)>,
    /// When the plan ends, in seconds since 1970.
    pub until: Option<i64>,
}

/// A client of the service.
#[derive(Clone, Debug)]
pub struct FreeTier {
    credentials: Option<SharedCredentialsProvider>,
    endpoint: String,
}

impl FreeTier {
    pub(super) fn new(config: &SdkConfig) -> Self {
        let endpoint = endpoints::named(config, "FreeTier").unwrap_or_else(|| ENDPOINT.to_owned());
        Self { credentials: config.credentials_provider(), endpoint }
    }

    /// Sends the call once. The caller bounds the time.
    pub async fn plan(&self) -> Result<AccountPlan, ApiError> {
        let sent = self.send().await.map_err(|error| ApiError::silent(ACTION, innermost(&*error)));
        let (status, ahead, body) = sent?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        match read(&answer) {
            Some(plan) if (200..300).contains(&status) => Ok(plan),
            _ => {
                let (code, message) = refusal(&answer);
                let message = if message.is_empty() { format!("HTTP {status}") } else { message };
                Err(ApiError { action: ACTION, code, message, status: Some(status), ahead })
            }
        }
    }

    async fn send(&self) -> Result<(u16, Option<i64>, Vec<u8>), Box<dyn Error + Send + Sync>> {
        let credentials = self.credentials.as_ref().ok_or("there are no credentials")?.provide_credentials().await?;
        let identity = credentials.into();
        let signing = SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("freetier")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let request =
            SignableRequest::new("POST", &self.endpoint, HEADERS.into_iter(), SignableBody::Bytes(BODY.as_bytes()))?;
        let (signed, _) = sign(request, &signing)?.into_parts();
        let mut client = reqwest::Client::builder().redirect(Policy::none()).connect_timeout(Duration::from_secs(5));
        if self.endpoint.starts_with("http:") {
            // Plain HTTP is allowed on loopback only, which no proxy can reach.
            client = client.no_proxy();
        }
        let request = client.build()?.post(&self.endpoint).body(BODY);
        let request =
            HEADERS.into_iter().chain(signed.headers()).fold(request, |all, (name, value)| all.header(name, value));
        let response = request.send().await?;
        let date = response.headers().get("date").and_then(|date| date.to_str().ok());
        Ok((response.status().as_u16(), date.and_then(ahead), response.bytes().await?.to_vec()))
    }
}

/// Whether accounts in the region's partition have a plan.
pub fn has_plans(region: &str) -> bool {
    !["cn-", "us-gov-", "us-iso", "eusc-", "eu-iso"].iter().any(|prefix| region.starts_with(prefix))
}

/// `None` for an answer with an unknown plan.
fn read(answer: &Value) -> Option<AccountPlan> {
    let free = match answer["accountPlanType"].as_str()? {
        "FREE" => true,
        "PAID" => false,
        _ => return None,
    };
    let credits = &answer["accountPlanRemainingCredits"];
    // It is printed on a terminal.
    let unit = credits["unit"].as_str().filter(|unit| unit.len() == 3 && unit.chars().all(|c| c.is_ascii_uppercase()));
    let until = answer["accountPlanExpirationDate"].as_str();
    let until = until.and_then(|text| DateTime::from_str(text, DateTimeFormat::DateTimeWithOffset).ok());
    Some(AccountPlan {
        free,
        status: answer["accountPlanStatus"].as_str().unwrap_or_default().to_owned(),
        credits: credits["amount"].as_f64().zip(unit.map(str::to_owned)),
        until: until.map(|until| until.secs()),
    })
}

/// The code and the message of an error in JSON.
fn refusal(answer: &Value) -> (String, String) {
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    let code = text("__type").rsplit('#').next().unwrap_or_default();
    let message = if text("message").is_empty() { text("Message") } else { text("message") };
    (code.to_owned(), message.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_a_plan_with_its_remaining_credits() {
        let answer = json!({
            "accountId": "123456789012", "accountPlanType": "FREE", "accountPlanStatus": "ACTIVE",
            "accountPlanRemainingCredits": {"amount": 87.5, "unit": "USD"},
            "accountPlanExpirationDate": "2026-12-31T00:00:00Z",
        });
        let plan = read(&answer).unwrap();
        assert_eq!((plan.free, plan.status.as_str(), plan.until), (true, "ACTIVE", Some(1_798_675_200)));
        assert_eq!(plan.credits, Some((87.5, "USD".to_owned())));
        let short = read(&json!({"accountPlanType": "PAID", "accountPlanStatus": "ACTIVE"})).unwrap();
        assert_eq!((short.free, short.credits, short.until), (false, None, None));
    }

    #[test]
    fn unsafe_and_unknown_values_are_omitted() {
        let unit = |unit: &str| {
            let credits = json!({"amount": 1, "unit": unit});
            read(&json!({"accountPlanType": "FREE", "accountPlanRemainingCredits": credits})).unwrap().credits
        };
        assert_eq!(unit("EUR"), Some((1.0, "EUR".to_owned())));
        for other in ["", "usd", "\u{1b}[2", "USDX"] {
            assert_eq!(unit(other), None, "{other}");
        }
        for other in [json!({}), json!(null), json!({"accountPlanType": "OTHER"})] {
            assert_eq!(read(&other), None);
        }
    }

    #[test]
    fn an_error_code_may_have_a_namespace() {
        let error = |text: &str| refusal(&json!({"__type": text, "message": "no"}));
        assert_eq!(error("com.amazonaws.freetier#AccessDeniedException").0, "AccessDeniedException");
        assert_eq!(error("AccessDeniedException"), ("AccessDeniedException".into(), "no".into()));
        assert_eq!(refusal(&json!({"Message": "no"})), (String::new(), "no".into()));
    }

    #[test]
    fn only_the_commercial_partition_has_plans() {
        for region in ["us-east-1", "eu-central-1", "ap-southeast-7"] {
            assert!(has_plans(region), "{region}");
        }
        for region in ["cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1", "eusc-de-east-1"] {
            assert!(!has_plans(region), "{region}");
        }
    }
}
