//! Certificates of a test: an authority, a server, clients. Made by the openssl program.
//!
//! Invariant: they live in a directory that goes with them; every name of a file says whose it is.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The files of one test.
pub(crate) struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    /// An authority `ca`, and with certificates of it `server`, `other` (another server) and `client`,
    /// whose common name is `alice` and which names `urn:bob`. `stranger` has one of itself.
    pub(crate) fn new() -> Certificates {
        let made = Certificates { dir: tempfile::tempdir().expect("a temporary directory") };
        made.sign_itself("ca", "/CN=authority", true);
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
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &file("csr"),
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "10",
            "-extfile",
            &file("ext"),
            "-out",
            &file("crt"),
        ]);
    }

    /// The key of `name`, encrypted, in `name.locked`.
    pub(crate) fn lock_key(&self, name: &str, password: &str) {
        let (key, locked) = (format!("{name}.key"), format!("{name}.locked"));
        let pass = format!("pass:{password}");
        self.openssl(&["pkcs8", "-topk8", "-in", &key, "-out", &locked, "-passout", &pass]);
    }

    fn openssl(&self, args: &[&str]) {
        let done = Command::new("openssl")
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .expect("the openssl program");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
