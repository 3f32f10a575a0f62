//! Language runtimes, recognised by their own frames: functions of their evaluation loops, or the files that these are in.
//!
//! Pure. What a runtime runs is not in any file: an interpreter's functions are data, a compiler's are in memory of their own. Which
//! names such memory is given says whether a function of the user's was named.

use std::fmt;

/// What runs programs that are not native code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    /// Python's reference implementation.
    CPython,
    /// Ruby's, with or without YJIT.
    Ruby,
    /// PHP's, with or without its JIT.
    Php,
    /// Perl 5.
    Perl,
    /// Lua of PUC-Rio.
    Lua,
    /// LuaJIT.
    LuaJit,
    /// JavaScript of Node.js, Deno, Chromium.
    V8,
    /// The OpenJDK's virtual machine.
    HotSpot,
    /// Erlang and Elixir.
    Beam,
    /// .NET.
    DotNet,
}

/// How a runtime is recognised: names of its evaluation loop, and files that it is in (without versions).
struct Signs {
    runtime: Runtime,
    loops: &'static [&'static str],
    files: &'static [&'static str],
}

const SIGNS: [Signs; 10] = [
    Signs { runtime: Runtime::CPython, loops: &["_PyEval_EvalFrameDefault"], files: &["python", "libpython"] },
    Signs { runtime: Runtime::Ruby, loops: &["vm_exec", "rb_vm_exec"], files: &["ruby", "libruby", "libruby-"] },
    Signs { runtime: Runtime::Php, loops: &["execute_ex"], files: &["php", "php-fpm", "php-cgi", "libphp"] },
    Signs { runtime: Runtime::Perl, loops: &["Perl_runops_standard"], files: &["perl", "libperl"] },
    // Before Lua's: LuaJIT comes under its name, too.
    Signs {
        runtime: Runtime::LuaJit,
        loops: &["lj_vm_call", "lj_BC_FUNCF"],
        files: &["luajit", "luajit-", "libluajit", "libluajit-"],
    },
    Signs { runtime: Runtime::Lua, loops: &["luaV_execute"], files: &["lua", "liblua"] },
    Signs {
        runtime: Runtime::V8,
        loops: &["Builtins_InterpreterEntryTrampoline", "Builtins_JSEntry"],
        files: &["node", "nodejs", "deno", "libnode"],
    },
    Signs { runtime: Runtime::HotSpot, loops: &["JavaCalls::call_helper"], files: &["java", "libjvm"] },
    Signs { runtime: Runtime::Beam, loops: &["process_main", "beam_jit_main"], files: &["beam"] },
    Signs { runtime: Runtime::DotNet, loops: &["CallDescrWorkerInternal"], files: &["dotnet", "libcoreclr"] },
];

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CPython => "CPython",
            Self::Ruby => "Ruby",
            Self::Php => "PHP",
            Self::Perl => "Perl",
            Self::Lua => "Lua",
            Self::LuaJit => "LuaJIT",
            Self::V8 => "V8",
            Self::HotSpot => "HotSpot",
            Self::Beam => "BEAM",
            Self::DotNet => ".NET",
        })
    }
}

impl Runtime {
    /// The runtime that a file is of, by its name.
    #[must_use]
    pub fn of_file(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        SIGNS.iter().find(|signs| signs.files.iter().any(|file| is_called(name, file))).map(|signs| signs.runtime)
    }

    /// The runtime whose evaluation loop a function is, by its name and, where a name is not unmistakable, its file.
    #[must_use]
    pub fn of_loop(name: &str, path: Option<&str>) -> Option<Self> {
        // Of C++ without its arguments, of a clone without its suffix.
        let name = name.split(['(', '.']).next().unwrap_or(name);
        let signs = SIGNS.iter().find(|signs| signs.loops.contains(&name))?;
        let plain = matches!(name, "vm_exec" | "execute_ex" | "process_main");
        (!plain || path.and_then(Self::of_file) == Some(signs.runtime)).then_some(signs.runtime)
    }

    /// Whether a named function in memory that was written at run time is one of the user's: the rest are the runtime's own stubs.
    #[must_use]
    pub fn is_script(self, name: &str) -> bool {
        match self {
            Self::V8 => {
                ["JS:", "Function:", "LazyCompile:", "Script:", "Eval:"].iter().any(|kind| name.starts_with(kind))
            }
            Self::HotSpot => name != "Interpreter" && (name.contains('.') || name.contains("::")),
            Self::Beam => name.starts_with('$') || name.contains(':'),
            _ => true,
        }
    }

    /// What makes stacks through code that it compiled whole.
    #[must_use]
    pub const fn frame_pointers(self) -> &'static str {
        match self {
            Self::HotSpot => "start the program with java -XX:+PreserveFramePointer",
            Self::V8 => "start the program with node --interpreted-frames-native-stack",
            Self::Beam => "start the program with ERL_FLAGS=\"+JPperf true\": some of its stacks are whole then",
            Self::Ruby => {
                "start the program with ruby --yjit --yjit-perf, which keeps frame pointers (Ruby 3.3 and later)"
            }
            Self::Php => "PHP's JIT keeps none: php -d opcache.jit=off has whole stacks of the interpreter",
            Self::LuaJit => "LuaJIT keeps none, and nothing makes it",
            Self::CPython => "python -X perf needs a CPython that was built with -fno-omit-frame-pointer",
            Self::Perl | Self::Lua | Self::DotNet => "this runtime keeps them: report the file",
        }
    }
}

/// Whether a file has this name, with or without a version or an ending: `python3.11`, `libruby-3.1.so.3.1`, not `pythonista`.
fn is_called(name: &str, file: &str) -> bool {
    let rest = name.strip_prefix(file);
    rest.is_some_and(|rest| rest.chars().next().is_none_or(|next| next.is_ascii_digit() || next == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files are recognised by name, with any version, and no others that begin alike.
    #[test]
    fn a_runtime_is_known_by_its_files() {
        for (path, runtime) in [
            ("/usr/bin/python3.11", Runtime::CPython),
            ("/usr/lib/x86_64-linux-gnu/libpython3.12.so.1.0", Runtime::CPython),
            ("/usr/lib/x86_64-linux-gnu/libruby-3.1.so.3.1.2", Runtime::Ruby),
            ("/usr/bin/php8.2", Runtime::Php),
            ("/usr/sbin/php-fpm8.2", Runtime::Php),
            ("/usr/bin/perl", Runtime::Perl),
            ("/usr/lib/x86_64-linux-gnu/liblua5.4.so.0", Runtime::Lua),
            ("/usr/lib/x86_64-linux-gnu/libluajit-5.1.so.2", Runtime::LuaJit),
            ("/usr/bin/luajit-2.1.0-beta3", Runtime::LuaJit),
            ("/usr/bin/node", Runtime::V8),
            ("/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so", Runtime::HotSpot),
            ("/usr/lib/erlang/erts-13.1/bin/beam.smp", Runtime::Beam),
            ("/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.0/libcoreclr.so", Runtime::DotNet),
        ] {
            assert_eq!(Runtime::of_file(path), Some(runtime), "{path}");
        }
        for other in
            ["/usr/bin/nodeadm", "/usr/bin/javac", "/opt/perlite", "/usr/bin/luac-x", "/usr/lib/libpq.so.5", "[anon]"]
        {
            assert_eq!(Runtime::of_file(other), None, "{other}");
        }
    }

    /// Evaluation loops are known by name; plain names only in the runtime's own files.
    #[test]
    fn a_runtime_is_known_by_its_evaluation_loop() {
        let python = Some("/opt/app/lib/embedded.so");
        assert_eq!(Runtime::of_loop("_PyEval_EvalFrameDefault", python), Some(Runtime::CPython));
        assert_eq!(Runtime::of_loop("_PyEval_EvalFrameDefault.cold", python), Some(Runtime::CPython));
        assert_eq!(
            Runtime::of_loop("JavaCalls::call_helper(JavaValue*, methodHandle const&)", None),
            Some(Runtime::HotSpot)
        );
        assert_eq!(Runtime::of_loop("vm_exec", Some("/usr/lib/libruby-3.1.so.3.1")), Some(Runtime::Ruby));
        assert_eq!(Runtime::of_loop("vm_exec", Some("/opt/other")), None);
        assert_eq!(Runtime::of_loop("main", None), None);
    }

    /// The runtime's own stubs are no functions of the user's.
    #[test]
    fn stubs_are_no_functions_of_the_users() {
        assert!(Runtime::V8.is_script("JS:~serve /app/x.js:3:1") && !Runtime::V8.is_script("BytecodeHandler:Add"));
        assert!(Runtime::HotSpot.is_script("java.lang.String::hashCode") && !Runtime::HotSpot.is_script("Interpreter"));
        assert!(Runtime::CPython.is_script("py::serve:/app/x.py"));
    }
}
