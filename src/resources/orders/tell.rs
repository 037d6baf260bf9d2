//! Gives orders to instances: sets their tags, and keeps them up to date with SSM.

use std::time::Duration;

use super::{Change, ID, OfSsm, Orders, Output};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{Aws, explain};
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::base::secret;
use crate::resources::context::Context;
use crate::resources::release::short;
use crate::resources::{instance, secrets, set_tags, token};

/// Applies the change and returns the orders.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let instance = context.output::<instance::Output>(&instance::ID)?;
    let instances: Vec<&str> = [&instance.id].into_iter().chain(&change.others).map(String::as_str).collect();
    let (mut orders, mut what) = (change.tell, Vec::new());
    orders.attempt = change.retry.then(|| secret::random_hex(4)).transpose()?;
    let references = orders.references.clone().or(context.known::<Output>(&ID).and_then(|output| output.references));
    context.learn(Output { attempt: orders.attempt.clone(), references });
    let told = if let Some(told) = instance.told {
        // This run launched the instance with its orders.
        told
    } else {
        what.extend(orders.release.as_deref().map(|release| format!("release {}", short(release))));
        let told = known(context, change.of_ssm).await?;
        tell(&context.aws, &instances, &Orders { token: told.token, secrets: told.secrets.clone(), ..orders }).await?;
        told
    };
    let told = catch_up(context, &instances, change.of_ssm, told).await?;
    if let Some(version) = told.token {
        context.learn_of(&token::ID, token::Output { version });
        what.push(format!("token version {version}"));
    }
    if let Some(fingerprint) = told.secrets {
        what.extend((change.of_ssm == OfSsm::Secrets).then(|| "the new secrets".to_owned()));
        context.change(&secrets::ID, |output: &mut secrets::Output| output.fingerprint = fingerprint);
    }
    if change.of_ssm == OfSsm::Nothing {
        what.push("the newest versions of the secrets that are kept elsewhere".to_owned());
    }
    Ok(what.join(", "))
}

async fn tell(aws: &Aws, instances: &[&str], orders: &Orders) -> Result<()> {
    let set = set_tags(aws, instances, &orders.tags()).await;
    set.map_err(|error| explain(format!("cannot tag the instance {}", instances.join(", ")), &error))
}

/// What this run knows of SSM, as orders; it is read where the run does not know it.
async fn known(context: &Context, of_ssm: OfSsm) -> Result<Orders> {
    let token = async {
        match context.known::<token::Output>(&token::ID) {
            _ if !of_ssm.has_token() => Ok(None),
            Some(token) => Ok(Some(token.version)),
            None => newest_token(context).await.map(Some),
        }
    };
    let secrets = async { if of_ssm.has_secrets() { secrets::known(context).await.map(Some) } else { Ok(None) } };
    let (token, secrets) = tokio::try_join!(token, secrets)?;
    Ok(Orders { token, secrets, ..Orders::default() })
}

/// Orders what is newer than `told`: a concurrent command may have written it after this one read. Returns what is ordered now.
async fn catch_up(context: &Context, instances: &[&str], of_ssm: OfSsm, mut told: Orders) -> Result<Orders> {
    loop {
        let token = async { if of_ssm.has_token() { newest_token(context).await.map(Some) } else { Ok(None) } };
        let secrets = async { if of_ssm.has_secrets() { secrets::newest(context).await.map(Some) } else { Ok(None) } };
        let (token, secrets) = tokio::try_join!(token, secrets)?;
        let newer = Orders {
            token: token.filter(|_| token > told.token),
            secrets: secrets
                .map(|found| secrets::fingerprint(&found))
                .filter(|found| told.secrets.as_ref() != Some(found)),
            ..Orders::default()
        };
        if newer == Orders::default() {
            return Ok(told);
        }
        tell(&context.aws, instances, &newer).await?;
        told = Orders { token: newer.token.or(told.token), secrets: newer.secrets.or(told.secrets), ..told };
    }
}

/// The token's newest version. SSM may not return a parameter that was just written.
async fn newest_token(context: &Context) -> Result<i64> {
    let (aws, name) = (&context.aws, context.name.as_str());
    let mut backoff = Backoff::new(Duration::from_secs(30));
    loop {
        let version = token::version(aws, name).await;
        match version.map_err(|error| explain("cannot read the token's version", &error))? {
            Some(version) => return Ok(version),
            None if backoff.wait().await == Retry::Again => {}
            None => {
                return Err(Failure::failed(format!("the token of {name} was deleted"))
                    .next(Next::from("set one: ").run("set-token --generate")));
            }
        }
    }
}
