//! Certificates of a test: an authority, a server, clients. Made by the openssl program.
//!
//! Invariant: they live in a directory that goes with them; every name of a file says whose it is.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The name of the authority.
const AUTHORITY: &str = "/CN=authority";

/// The files of one test.
pub(crate) struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    /// An authority `ca`, and with certificates of it `server`, `other` (another server) and `client`,
    /// whose common name is `alice` and which names `urn:bob`. `stranger` has one of itself.
    pub(crate) fn new() -> Certificates {
        let made = Certificates { dir: tempfile::tempdir().expect("a temporary directory") };
        made.sign_itself("ca", AUTHORITY, true);
        made.sign_itself("stranger", "/CN=alice", false);
        made.issue("server", "/CN=server", "urn:server");
        made.issue("other", "/CN=other", "urn:other");
        made.issue("client", "/CN=alice", "urn:bob");
        made
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("a path in ASCII").to_owned()
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `forger`: another authority with the name of `ca`.
    pub(crate) fn forge_authority(&self) {
        self.sign_itself("forger", AUTHORITY, true);
    }

    fn sign_itself(&self, name: &str, subject: &str, is_authority: bool) {
        let constraint =
            format!("basicConstraints=critical,CA:{}", if is_authority { "TRUE" } else { "FALSE" });
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let config = format!(
            "[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\n{constraint}\n"
        );
        fs::write(self.path("own.cnf"), config).expect("a file");
        self.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "10",
            "-config",
            "own.cnf",
            "-subj",
            subject,
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]);
    }

    /// A certificate of the authority.
    pub(crate) fn issue(&self, name: &str, subject: &str, uri: &str) {
        let file = |extension: &str| format!("{name}.{extension}");
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            subject,
            "-keyout",
            &file("key"),
            "-out",
            &file("csr"),
        ]);
        let extensions =
            format!("basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,URI:{uri}\n");
        fs::write(self.path(&file("ext")), extensions).expect("a file");
        self.sign(name, "ca", &["-days", "10", "-extfile", &file("ext")]);
    }

    /// A certificate without extensions, which has version 1, for the key of `name`, as `{name}.crt`; `options` say how
    /// long it holds.
    pub(crate) fn reissue_as_version_1(&self, name: &str, authority: &str, options: &[&str]) {
        self.sign(name, authority, options);
        let shown = self.openssl(&["x509", "-noout", "-text", "-in", &format!("{name}.crt")]);
        assert!(shown.contains("Version: 1 "), "{shown}");
    }

    /// Answers the request of `name` with a certificate.
    fn sign(&self, name: &str, authority: &str, options: &[&str]) {
        let file = |extension: &str| format!("{name}.{extension}");
        let (cert, key) = (format!("{authority}.crt"), format!("{authority}.key"));
        let (request, made) = (file("csr"), file("crt"));
        let mut words = vec!["x509", "-req", "-in", &request, "-CA", &cert, "-CAkey", &key];
        words.extend(["-CAcreateserial", "-out", &made]);
        words.extend(options);
        self.openssl(&words);
    }

    /// The key of `name`, encrypted, in `name.locked`.
    pub(crate) fn lock_key(&self, name: &str, password: &str) {
        let (key, locked) = (format!("{name}.key"), format!("{name}.locked"));
        let pass = format!("pass:{password}");
        self.openssl(&["pkcs8", "-topk8", "-in", &key, "-out", &locked, "-passout", &pass]);
    }

    /// Runs the program; what it says.
    fn openssl(&self, args: &[&str]) -> String {
        let done = Command::new("openssl")
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .expect("the openssl program");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}
