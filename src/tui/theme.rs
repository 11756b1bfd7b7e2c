//! Colours: what a thing is decides its style, the theme and the terminal decide what that looks like.

use std::collections::BTreeMap;

use ratatui::style::{Color, Modifier, Style};

/// How many colours a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    None,
    Ansi,
    Indexed,
    True,
}

impl Depth {
    /// What the environment says of the terminal: `NO_COLOR`, `COLORTERM` and `TERM`, see <https://no-color.org> and
    /// <https://github.com/termstandard/colors>.
    pub fn detect(env: impl Fn(&str) -> Option<String>) -> Self {
        let says = |name: &str| env(name).unwrap_or_default().to_lowercase();
        if !says("NO_COLOR").is_empty() {
            return Self::None;
        }
        let (color, term) = (says("COLORTERM"), says("TERM"));
        match (color.as_str(), term.as_str()) {
            ("truecolor" | "24bit", _) => Self::True,
            (_, "dumb" | "") => Self::None,
            (_, term) if term.contains("direct") || term.contains("kitty") || term.contains("ghostty") => Self::True,
            (_, term) if term.contains("256") => Self::Indexed,
            _ => Self::Ansi,
        }
    }
}

/// The themes that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThemeName {
    #[default]
    Dark,
    Light,
    HighContrast,
    /// The terminal's own sixteen colours.
    Terminal,
}

macro_rules! roles {
    ($($role:ident $name:literal),+ $(,)?) => {
        /// What something on the screen is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Role { $($role),+ }

        const ROLES: &[(Role, &str)] = &[$((Role::$role, $name)),+];
    };
}

roles! {
    Text "text",
    Dim "dim",
    Accent "accent",
    Border "border",
    Selected "selected",
    Bar "bar",
    Good "good",
    Bad "bad",
    Warn "warn",
    Running "running",
    Paused "paused",
    Review "review",
    Code "code",
    Found "found",
}

const COUNT: usize = ROLES.len();

/// Foreground, then for [`Role::Selected`], [`Role::Bar`] and [`Role::Found`] the background.
type Palette = [Color; COUNT];

const fn rgb(hex: u32) -> Color {
    Color::Rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

const DARK: Palette = [
    rgb(0xd8dee9),
    rgb(0x7f8899),
    rgb(0x88c0f0),
    rgb(0x4a5264),
    rgb(0x2c3446),
    rgb(0x1f2532),
    rgb(0x8fce8a),
    rgb(0xf28b82),
    rgb(0xf0c674),
    rgb(0x7fc8f8),
    rgb(0xc3a6ff),
    rgb(0x9db2ff),
    rgb(0x80d4c8),
    rgb(0x6b5a1e),
];
const LIGHT: Palette = [
    rgb(0x22272e),
    rgb(0x687078),
    rgb(0x0a5fb4),
    rgb(0xb6bcc4),
    rgb(0xdbe7f6),
    rgb(0xebeef2),
    rgb(0x1a7f37),
    rgb(0xb3261e),
    rgb(0x8a5a00),
    rgb(0x0a5fb4),
    rgb(0x6f42c1),
    rgb(0x4050c0),
    rgb(0x0b6b63),
    rgb(0xffe9a8),
];
const HIGH_CONTRAST: Palette = [
    rgb(0xffffff),
    rgb(0xd0d0d0),
    rgb(0x00e5ff),
    rgb(0xffffff),
    rgb(0x0000af),
    rgb(0x000000),
    rgb(0x00ff5f),
    rgb(0xff5f5f),
    rgb(0xffff00),
    rgb(0x00e5ff),
    rgb(0xff87ff),
    rgb(0x87afff),
    rgb(0x5fffd7),
    rgb(0x875f00),
];
const TERMINAL: Palette = [
    Color::Reset,
    Color::DarkGray,
    Color::Cyan,
    Color::DarkGray,
    Color::Reset,
    Color::Reset,
    Color::Green,
    Color::Red,
    Color::Yellow,
    Color::Blue,
    Color::Magenta,
    Color::Blue,
    Color::Cyan,
    Color::Reset,
];

/// Styles of everything.
#[derive(Clone, Debug)]
pub struct Theme {
    palette: Palette,
    depth: Depth,
    /// Backgrounds are the terminal's own, and what is chosen is shown inverted.
    inverts: bool,
}

impl Theme {
    /// A theme as a terminal of so many colours can show it. `colors` are the settings' own: a role's name and a colour like
    /// `#88c0f0`, `red` or `110`.
    pub fn new(name: ThemeName, colors: &BTreeMap<String, String>, depth: Depth) -> Result<Self, String> {
        let mut palette = match name {
            ThemeName::Dark => DARK,
            ThemeName::Light => LIGHT,
            ThemeName::HighContrast => HIGH_CONTRAST,
            ThemeName::Terminal => TERMINAL,
        };
        for (role, color) in colors {
            let wanted = role.replace('_', "-");
            let (role, _) = ROLES.iter().find(|(_, name)| *name == wanted).ok_or_else(|| {
                let names: Vec<&str> = ROLES.iter().map(|(_, name)| *name).collect();
                format!("there is no colour `{}`; the colours are {}", crate::text::clean_line(role), names.join(", "))
            })?;
            palette[*role as usize] = color.parse().map_err(|_| {
                format!("`{}` is no colour; write it like #88c0f0, red or 110", crate::text::clean_line(color))
            })?;
        }
        // A background of the sixteen would shout.
        let inverts = name == ThemeName::Terminal || depth <= Depth::Ansi;
        Ok(Self { palette, depth, inverts })
    }

    pub fn style(&self, role: Role) -> Style {
        match role {
            Role::Selected | Role::Bar | Role::Found => self.background(role),
            Role::Dim | Role::Border if self.depth == Depth::None => Style::new().add_modifier(Modifier::DIM),
            _ => Style::new().fg(self.color(role)),
        }
    }

    fn background(&self, role: Role) -> Style {
        match (self.inverts, role) {
            (true, Role::Bar) => Style::new(),
            (true, _) => Style::new().add_modifier(Modifier::REVERSED),
            (false, _) => Style::new().bg(self.color(role)),
        }
    }

    /// The style of everything that says nothing else.
    pub fn base(&self) -> Style {
        self.style(Role::Text)
    }

    pub fn bold(&self, role: Role) -> Style {
        self.style(role).add_modifier(Modifier::BOLD)
    }

    fn color(&self, role: Role) -> Color {
        reduce(self.palette[role as usize], self.depth)
    }

    /// A style of the program's printed output, in this theme's colours.
    pub fn of(&self, style: anstyle::Style) -> Style {
        use anstyle::{AnsiColor, Color as Ansi, Effects};
        let mut out = match style.get_fg_color() {
            Some(Ansi::Ansi(color)) => self.style(match color {
                AnsiColor::Red | AnsiColor::BrightRed => Role::Bad,
                AnsiColor::Green | AnsiColor::BrightGreen => Role::Good,
                AnsiColor::Yellow | AnsiColor::BrightYellow => Role::Warn,
                AnsiColor::Blue | AnsiColor::BrightBlue => Role::Review,
                AnsiColor::Magenta | AnsiColor::BrightMagenta => Role::Paused,
                AnsiColor::Cyan | AnsiColor::BrightCyan => Role::Code,
                AnsiColor::Black | AnsiColor::BrightBlack => Role::Dim,
                AnsiColor::White | AnsiColor::BrightWhite => Role::Text,
            }),
            _ => self.base(),
        };
        let effects = style.get_effects();
        for (effect, modifier) in [
            (Effects::BOLD, Modifier::BOLD),
            (Effects::ITALIC, Modifier::ITALIC),
            (Effects::UNDERLINE, Modifier::UNDERLINED),
            (Effects::STRIKETHROUGH, Modifier::CROSSED_OUT),
        ] {
            if effects.contains(effect) {
                out = out.add_modifier(modifier);
            }
        }
        if effects.contains(Effects::DIMMED) { out.patch(self.style(Role::Dim)) } else { out }
    }
}

/// The nearest colour that the terminal has.
fn reduce(color: Color, depth: Depth) -> Color {
    match (color, depth) {
        (_, Depth::None) => Color::Reset,
        (Color::Rgb(r, g, b), Depth::Indexed) => Color::Indexed(indexed(r, g, b)),
        (Color::Rgb(r, g, b), Depth::Ansi) => ansi(r, g, b),
        (Color::Indexed(16..), Depth::Ansi) => Color::Reset,
        _ => color,
    }
}

/// The nearest of the 240 colours that all terminals agree on: a cube of 6×6×6 and 24 greys.
fn indexed(r: u8, g: u8, b: u8) -> u8 {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let nearest = |value: u8| (0..6u8).min_by_key(|step| STEPS[usize::from(*step)].abs_diff(value)).unwrap_or(0);
    let distance =
        |other: [u8; 3]| -> u32 { [r, g, b].iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum() };
    let cube = [nearest(r), nearest(g), nearest(b)];
    let grey = ((u16::from(r) + u16::from(g) + u16::from(b)) / 3).saturating_sub(3) / 10;
    let grey = u8::try_from(grey.min(23)).unwrap_or(23);
    let of_cube = distance(cube.map(|step| STEPS[usize::from(step)]));
    if distance([8 + grey * 10; 3]) < of_cube { 232 + grey } else { 16 + 36 * cube[0] + 6 * cube[1] + cube[2] }
}

/// The one of the sixteen that is meant: greys by how light they are, else by hue.
fn ansi(r: u8, g: u8, b: u8) -> Color {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most - least < 40 {
        return match most {
            0..64 => Color::Black,
            64..150 => Color::DarkGray,
            150..200 => Color::Gray,
            _ => Color::Reset,
        };
    }
    let high = |value: u8| u16::from(value) * 10 > u16::from(least) * 10 + u16::from(most - least) * 6;
    match (high(r), high(g), high(b)) {
        (true, false, false) => Color::Red,
        (false, true, false) => Color::Green,
        (true, true, false) => Color::Yellow,
        (false, false, true) => Color::Blue,
        (true, false, true) => Color::Magenta,
        (false, true, true) => Color::Cyan,
        _ => Color::Reset,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn theme(name: ThemeName, depth: Depth) -> Theme {
        Theme::new(name, &BTreeMap::new(), depth).unwrap()
    }

    #[test]
    fn the_environment_says_how_many_colours_there_are() {
        let detect = |pairs: &[(&str, &str)]| {
            Depth::detect(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(detect(&[("COLORTERM", "truecolor"), ("TERM", "xterm-256color")]), Depth::True);
        assert_eq!(detect(&[("TERM", "tmux-256color")]), Depth::Indexed);
        assert_eq!(detect(&[("TERM", "xterm-kitty")]), Depth::True);
        assert_eq!(detect(&[("TERM", "linux")]), Depth::Ansi);
        assert_eq!(detect(&[("TERM", "dumb")]), Depth::None);
        assert_eq!(detect(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]), Depth::None);
    }

    #[test]
    fn colours_are_reduced_to_what_the_terminal_has() {
        for name in [ThemeName::Dark, ThemeName::Light, ThemeName::HighContrast, ThemeName::Terminal] {
            for (role, _) in ROLES {
                let style = theme(name, Depth::None).style(*role);
                assert!(matches!(style.fg, None | Some(Color::Reset)) && style.bg.is_none(), "{name:?} {role:?}");
                let style = theme(name, Depth::Ansi).style(*role);
                assert!(!matches!(style.fg, Some(Color::Rgb(..) | Color::Indexed(_))), "{name:?} {role:?}");
                let style = theme(name, Depth::Indexed).style(*role);
                assert!(!matches!(style.fg, Some(Color::Rgb(..))), "{name:?} {role:?}");
            }
        }
        let dark = theme(ThemeName::Dark, Depth::Ansi);
        let colors = [Role::Good, Role::Bad, Role::Warn].map(|role| dark.style(role).fg.unwrap());
        assert_eq!(colors, [Color::Green, Color::Red, Color::Yellow]);
        assert_eq!(indexed(255, 0, 0), 196);
        assert_eq!(indexed(128, 128, 128), 244);
    }

    #[test]
    fn settings_change_single_colours() {
        let colors = |role: &str, color: &str| BTreeMap::from([(role.to_owned(), color.to_owned())]);
        let theme = Theme::new(ThemeName::Dark, &colors("good", "#010203"), Depth::True).unwrap();
        assert_eq!(theme.style(Role::Good).fg, Some(Color::Rgb(1, 2, 3)));
        let wrong = |role, color| Theme::new(ThemeName::Dark, &colors(role, color), Depth::True).unwrap_err();
        assert!(wrong("god", "red").starts_with("there is no colour `god`; the colours are text,"));
        assert_eq!(wrong("good", "reddish"), "`reddish` is no colour; write it like #88c0f0, red or 110");
    }
}
