//! Bringing maps and programs into the kernel.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::CString,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::maps::{Map, MapData, MapError};
use aya_obj::{EbpfSectionKind, Object};
use killtrace_ebpf::{Config, Offsets};

use super::{
    AttachError, bpf,
    bpf::Kind,
    event::Event,
    hooks::{ATTACHED_TWICE, ATTACHED_TWICE_GROUP, HOOKS, Hook, Place},
    preflight, programs_log,
    settings::Settings,
};
use crate::evidence::ATTACHED;

/// The programs, as built by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("KILLTRACE_EBPF_OBJECT"));

/// The program that the one on signals ends with where a fault is fatal.
const MAPPINGS: &str = "fault_mappings";

/// Lines of the verifier's log that an error shows: the last ones say why.
const LOG_LINES: usize = 12;

/// What is loaded: maps by name, and programs that are not attached yet.
pub struct Loaded {
    maps: HashMap<String, MapData>,
    programs: Vec<(Hook, Kind, OwnedFd)>,
    /// Where the hook that is attached twice is put for the second time; `None`: where it already is.
    event: Option<Event>,
    /// What the programs lead to, which is there as long as these are open.
    reached: Vec<OwnedFd>,
    skipped: BTreeMap<String, String>,
}

/// What is attached.
pub struct Attached {
    /// Hook to [`ATTACHED`], or why not.
    pub hooks: BTreeMap<String, String>,
    /// The programs, by hook; a hook may have two.
    pub programs: Vec<(&'static str, OwnedFd)>,
    /// What keeps them attached, and in place what they lead to.
    pub links: Vec<OwnedFd>,
}

/// Whether the trace event can be opened by which ends are seen as well; `None` where this kernel's programs cannot be
/// preempted, and nothing needs it.
pub fn event_on_ends() -> Option<std::io::Result<()>> {
    let open = || Event::open(ATTACHED_TWICE_GROUP, ATTACHED_TWICE).map(drop);
    preflight::programs_are_preemptible().then(open)
}

impl Loaded {
    /// Loads the object with these settings; only the hooks that `wanted` says yes to.
    ///
    /// # Errors
    /// Where the kernel refuses a map or a required program.
    pub fn new(
        settings: &Settings,
        wanted: impl Fn(&Hook) -> Result<(), String>,
    ) -> Result<Self, AttachError> {
        let mut object = Object::parse(OBJECT).map_err(damaged)?;
        let log_level = [programs_log::level()];
        let preemptible = preflight::programs_are_preemptible();
        let event =
            preemptible.then(|| Event::open(ATTACHED_TWICE_GROUP, ATTACHED_TWICE).ok()).flatten();
        let mut config = settings.config;
        if event.is_some() {
            // The one code has to do with either context.
            config.exit_has_group_dead = 0;
        }
        let globals = HashMap::from([
            ("OFFSETS", (bytes_of(&settings.offsets), true)),
            ("CONFIG", (bytes_of(&config), true)),
            ("AYA_LOG_LEVEL", (log_level.as_slice(), true)),
        ]);
        object.patch_map_data(globals).map_err(damaged)?;
        let maps = make_maps(&mut object)?;

        let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        object
            .relocate_maps(
                maps.iter()
                    .map(|(name, map)| (name.as_str(), map.0.fd().as_fd().as_raw_fd(), &map.1)),
                &text,
            )
            .map_err(damaged)?;
        object.relocate_calls(&text).map_err(damaged)?;

        let mut loaded = Self {
            maps: maps.into_iter().map(|(name, (map, _))| (name, map)).collect(),
            programs: Vec::new(),
            event,
            reached: Vec::new(),
            skipped: BTreeMap::new(),
        };
        // The verifier is as long over what few deaths need as over all the rest: beside that, it costs no time.
        let mappings = std::thread::scope(|scope| {
            let mappings = scope.spawn(|| load_program(&object, MAPPINGS, Kind::RawTracepoint));
            loaded.load_hooks(&object, preemptible, |hook| {
                wanted(hook).and_then(|()| kind_of(hook, &settings.functions))
            })?;
            mappings.join().unwrap_or_else(|_| Err(damaged("the loading thread panicked")))
        })?;
        loaded.lead_to_mappings(mappings)?;
        Ok(loaded)
    }

    /// Loads the programs of the hooks that `wanted` says yes to, with what each is for.
    fn load_hooks(
        &mut self,
        object: &Object,
        preemptible: bool,
        wanted: impl Fn(&Hook) -> Result<Kind, String>,
    ) -> Result<(), AttachError> {
        for hook in HOOKS {
            match wanted(hook) {
                Ok(kind) => {
                    self.load(object, hook, kind)?;
                    if preemptible && hook.name == ATTACHED_TWICE {
                        let again = if self.event.is_some() { Kind::Event } else { kind };
                        self.load(object, hook, again)?;
                    }
                }
                Err(why) => {
                    self.skipped.insert(hook.name.to_owned(), why);
                }
            }
        }
        Ok(())
    }

    fn load(&mut self, object: &Object, hook: &Hook, kind: Kind) -> Result<(), AttachError> {
        match load_program(object, hook.name, kind)? {
            Ok(fd) => self.programs.push((*hook, kind, fd)),
            Err(refused) if hook.required => return Err(explain(hook, &refused)),
            Err(refused) => self.skip(hook.name, &refused),
        }
        Ok(())
    }

    /// Puts the program that tells of a fault's mappings where the one on signals looks for it.
    fn lead_to_mappings(
        &mut self,
        loaded: Result<OwnedFd, bpf::Refused>,
    ) -> Result<(), AttachError> {
        let program = match loaded {
            Ok(fd) => fd,
            Err(refused) => {
                self.skip(MAPPINGS, &refused);
                return Ok(());
            }
        };
        let failed = |error| AttachError::System { what: "make programs reach each other", error };
        let map = self.maps.get("MAPPINGS").ok_or_else(|| damaged("no map MAPPINGS"))?;
        let map = map.fd().as_fd().try_clone_to_owned().map_err(failed)?;
        bpf::set_data(map.as_fd(), &program.as_raw_fd().to_ne_bytes()).map_err(failed)?;
        // The kernel empties the map when nobody has it open any more.
        self.reached.push(map);
        Ok(())
    }

    fn skip(&mut self, program: &str, refused: &bpf::Refused) {
        tracing::debug!(program, log = refused.log, "the kernel refused an optional program");
        let why = format!("the kernel refused the program: {}", refused.error);
        self.skipped.insert(program.to_owned(), why);
    }

    /// Takes a map out, to be used.
    ///
    /// # Errors
    /// Where there is none of that name and type.
    pub fn map<T: TryFrom<Map, Error = MapError>>(&mut self, name: &str) -> Result<T, AttachError> {
        Map::from_map_data(self.take(name)?).and_then(T::try_from).map_err(damaged)
    }

    /// Takes a map out, whatever its type.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn take(&mut self, name: &str) -> Result<MapData, AttachError> {
        self.maps.remove(name).ok_or_else(|| damaged(format!("no map {name}")))
    }

    /// Attaches the programs.
    ///
    /// # Errors
    /// Where the kernel lacks a required tracepoint.
    pub fn attach(mut self) -> Result<Attached, AttachError> {
        let mut attached =
            Attached { hooks: self.skipped, programs: Vec::new(), links: self.reached };
        for (hook, kind, program) in self.programs {
            let name = CString::new(hook.name).map_err(damaged)?;
            let link = match (kind, self.event.take_if(|_| kind == Kind::Event)) {
                (_, Some(event)) => event.attach(program.as_fd()),
                (Kind::Function(_), None) => bpf::attach(program.as_fd(), None),
                (_, None) => bpf::attach(program.as_fd(), Some(&name)),
            };
            let state = match link {
                Ok(link) => {
                    attached.links.push(link);
                    attached.programs.push((hook.name, program));
                    ATTACHED.to_owned()
                }
                Err(error) if hook.required => {
                    return Err(AttachError::Hook { hook: hook.name, error });
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => match hook.place {
                    Place::Tracepoint => "this kernel has no such tracepoint".to_owned(),
                    Place::Function => "this kernel has no such function".to_owned(),
                },
                Err(error) => format!("the kernel refused: {error}"),
            };
            attached.hooks.insert(hook.name.to_owned(), state);
        }
        Ok(attached)
    }
}

/// What a hook's program is for; functions by their ids in the running kernel's types.
fn kind_of(hook: &Hook, functions: &HashMap<&'static str, u32>) -> Result<Kind, String> {
    match (hook.place, functions.get(hook.name)) {
        (Place::Tracepoint, _) => Ok(Kind::RawTracepoint),
        (Place::Function, Some(id)) => Ok(Kind::Function(*id)),
        (Place::Function, None) => {
            Err("the running kernel's own type information does not tell of this function"
                .to_owned())
        }
    }
}

/// Loads the program of this name.
fn load_program(
    object: &Object,
    name: &str,
    kind: Kind,
) -> Result<Result<OwnedFd, bpf::Refused>, AttachError> {
    let program = object.programs.get(name);
    let code = program.and_then(|program| object.functions.get(&program.function_key()));
    let (Some(program), Some(code)) = (program, code) else {
        return Err(damaged(format!("the program {name} is missing")));
    };
    let (license, code) = (program.license.as_c_str(), code.instructions.as_slice());
    Ok(bpf::load_program(bpf::Program { name, license, code, kind }))
}

/// Makes the maps of the object. Constants are frozen, so that the verifier can rely on them.
fn make_maps(object: &mut Object) -> Result<HashMap<String, (MapData, aya_obj::Map)>, AttachError> {
    let mut maps = HashMap::new();
    for (name, definition) in object.maps.drain() {
        let refused = |error| preflight::refused_map(&name, error);
        let map =
            MapData::create(definition.clone(), &name, None).map_err(|error| match error {
                MapError::CreateError { io_error, .. } => refused(io_error),
                other => damaged(other),
            })?;
        if !definition.data().is_empty() {
            bpf::set_data(map.fd().as_fd(), definition.data()).map_err(refused)?;
        }
        if definition.section_kind() == EbpfSectionKind::Rodata {
            bpf::freeze(map.fd().as_fd()).map_err(refused)?;
        }
        maps.insert(name, (map, definition));
    }
    Ok(maps)
}

/// Says why the kernel did not take a required program.
fn explain(hook: &Hook, refused: &bpf::Refused) -> AttachError {
    if preflight::locked_down() {
        return AttachError::Lockdown;
    }
    if refused.log.is_empty() && refused.error.raw_os_error() == Some(libc::EPERM) {
        let error = std::io::Error::from_raw_os_error(libc::EPERM);
        return AttachError::Forbidden { error };
    }
    let lines: Vec<&str> = refused.log.trim_end().lines().collect();
    let last = lines.len().saturating_sub(LOG_LINES);
    AttachError::Program {
        hook: hook.name,
        error: std::io::Error::from_raw_os_error(refused.error.raw_os_error().unwrap_or(0)),
        log: lines.get(last..).unwrap_or_default().join("\n"),
    }
}

fn damaged(error: impl std::fmt::Display) -> AttachError {
    AttachError::Object(error.to_string())
}

/// Settings that consist of integers alone, without padding.
///
/// # Safety
/// Implementors have no padding, and every byte of them is initialised.
unsafe trait Plain {}
// SAFETY: a `repr(C)` structure of `u32` alone.
unsafe impl Plain for Offsets {}
// SAFETY: a `repr(C)` structure of integers whose size is asserted to be the sum of theirs.
unsafe impl Plain for Config {}

fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `T` has no padding, and the bytes live as long as the value.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_a_program_for_every_hook_and_none_besides() {
        let object = Object::parse(OBJECT).expect("the object is whole");
        let mut programs: Vec<&str> = object.programs.keys().map(String::as_str).collect();
        let hooks = HOOKS.iter().map(|hook| hook.name);
        let mut hooks: Vec<&str> = hooks.chain([MAPPINGS]).collect();
        programs.sort_unstable();
        hooks.sort_unstable();
        assert_eq!(programs, hooks);
    }

    #[test]
    fn the_object_takes_the_settings() {
        let mut object = Object::parse(OBJECT).expect("the object is whole");
        let globals = HashMap::from([
            ("OFFSETS", (bytes_of(&Offsets::ABSENT), true)),
            ("CONFIG", (bytes_of(&Config::NONE), true)),
        ]);
        object.patch_map_data(globals).expect("both sides agree on the settings' sizes");
        for map in [
            "RECORDS", "LOSSES", "REPEATS", "KIN", "WATCHED", "NAMES", "CGROUPS", "USERS", "PORTS",
            ".bss",
        ] {
            assert!(object.maps.contains_key(map), "no map {map}");
        }
    }
}
