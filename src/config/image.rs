//! `instance.image`.

/// The operating systems that devopsctl supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// Debian 13
    Debian13,
    /// Ubuntu 24.04 LTS
    Ubuntu2404,
    /// Ubuntu 26.04 LTS
    Ubuntu2604,
    /// Debian 12
    Debian12,
    /// Amazon Linux 2023
    AmazonLinux2023,
}

impl Image {
    /// All of them, the default first.
    pub const ALL: [Image; 5] =
        [Image::Debian13, Image::Ubuntu2404, Image::Ubuntu2604, Image::Debian12, Image::AmazonLinux2023];

    /// The name in `deploy.yaml`, and in the instance's spec.
    pub const fn name(self) -> &'static str {
        match self {
            Image::Debian13 => "debian-13",
            Image::Ubuntu2404 => "ubuntu-24.04",
            Image::Ubuntu2604 => "ubuntu-26.04",
            Image::Debian12 => "debian-12",
            Image::AmazonLinux2023 => "al2023",
        }
    }

    /// Its version of Python.
    pub const fn python(self) -> &'static str {
        match self {
            Image::Debian13 => "3.13",
            Image::Ubuntu2404 => "3.12",
            Image::Ubuntu2604 => "3.14",
            Image::Debian12 => "3.11",
            Image::AmazonLinux2023 => "3.9",
        }
    }

    /// The name of the sandbox's image for instances that are processes, with the same Python.
    pub fn process(self) -> String {
        if self == Image::ALL[0] { "process".to_owned() } else { format!("process-{}", self.name()) }
    }
}
