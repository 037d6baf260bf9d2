//! `instance.cpu_credits`

/// The mode of a burstable instance when its CPU credits are used up.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuCredits {
    /// Unlimited until `up` has waited for the app, then standard: T3 and T4g start without credits.
    #[default]
    Auto,
    /// The instance is throttled.
    Standard,
    /// The instance is not throttled, and costs more.
    Unlimited,
}

impl CpuCredits {
    /// All of them, the default first.
    pub const ALL: [CpuCredits; 3] = [CpuCredits::Auto, CpuCredits::Standard, CpuCredits::Unlimited];

    /// The name in `deploy.yaml`.
    pub const fn name(self) -> &'static str {
        match self {
            CpuCredits::Auto => "auto",
            CpuCredits::Standard => "standard",
            CpuCredits::Unlimited => "unlimited",
        }
    }
}
