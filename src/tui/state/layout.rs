//! Where everything is, from the size alone.

use ratatui::layout::Rect;

use super::{Focus, Pane, State};

/// Columns from which the list and the open task are side by side.
const BOTH: u16 = 90;
/// Rows from which a task has two lines in the list.
const ROOMY: u16 = 14;

/// Parts of the screen; an absent one has no size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub header: Rect,
    pub list: Rect,
    /// The line between the halves.
    pub border: Rect,
    pub view: Rect,
    /// The part of the open task that is scrolled.
    pub body: Rect,
    /// Where the open task's request is answered; it hides nothing of the request.
    pub ask: Rect,
    pub footer: Rect,
    /// Lines of a task in the list.
    pub each: u16,
    /// Lines above the body.
    pub head: u16,
}

impl Layout {
    pub fn of(state: &State) -> Self {
        let (columns, rows) = state.size;
        let middle = rows.saturating_sub(2);
        let both = columns >= BOTH && !(state.zoomed && state.focus == Focus::View);
        let list_width = match (both, state.focus) {
            (true, _) => (u32::from(columns) * u32::from(state.split) / 100) as u16,
            (false, Focus::List) => columns,
            (false, Focus::View) => 0,
        };
        let list_width = if both { list_width.clamp(30, columns - 40) } else { list_width };
        let border = u16::from(both);
        let view_width = columns - list_width - border;
        let view = Rect::new(list_width + border, 1, view_width, middle);
        let head = match middle {
            0..10 => 1,
            10..16 => 2,
            _ => 4,
        };
        let head = if view_width == 0 { 0 } else { head };
        let asks = state.view.as_ref().is_some_and(|view| {
            view.pane == Pane::Transcript && state.approvals.iter().any(|approval| approval.task_id == view.id)
        });
        let ask = u16::from(asks && view_width > 0 && middle > head + 1);
        // A column on each side, and the bar at the right.
        let (x, width) = (view.x + 1, view_width.saturating_sub(3));
        let body = Rect::new(x, view.y + head, width, middle.saturating_sub(head + ask));
        Self {
            header: Rect::new(0, 0, columns, 1.min(rows)),
            list: Rect::new(0, 1, list_width, middle),
            border: Rect::new(list_width, 1, border, middle),
            view,
            body,
            ask: Rect::new(x, body.bottom(), width, ask),
            footer: Rect::new(0, rows.saturating_sub(1), columns, 1.min(rows)),
            each: if middle >= ROOMY { 2 } else { 1 },
            head,
        }
    }

    /// Width and height of the body.
    pub fn body_size(&self) -> (usize, usize) {
        (usize::from(self.body.width), usize::from(self.body.height))
    }
}
