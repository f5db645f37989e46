//! Writing events: each with its number, each item with all that opens and closes it.

use crate::id;
use crate::json::{Text, Writer};
use crate::model::{self, Citation, Delta, Event, Failed, Finish, Signature, Start, Tier};
use crate::responses::error;
use crate::responses::item::{self, Called, Content, Item, Piece};
use crate::responses::response::{End, Head};
use crate::target::Context;
use tollgate_plugin::types::Usage;

/// Writes one answer.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    context: Context,
    head: Head,
    /// The number of the next event.
    sequence: u64,
    /// All items so far: the end repeats them.
    items: Vec<Item>,
    /// Whether the last item is a message or thoughts that may go on.
    open: bool,
    /// The calls that may go on: their numbers in the events and their places.
    calls: Vec<(u64, usize)>,
    /// How likely the tokens of the next text are, as elements of an array.
    logprobs: String,
    finish: Finish<'static>,
    usage: Usage,
    tier: Option<Tier>,
}

impl model::StreamWriter for StreamWriter {
    fn write(&mut self, event: Event<'_>, out: &mut Writer) {
        match event {
            Event::Start(start) => self.start(start, out),
            // No client of this protocol can ask for more than one.
            Event::Delta { candidate: 0, delta } => self.delta(delta, out),
            Event::Finish { candidate: 0, finish } => self.finish = finish.into_owned(),
            Event::Delta { .. } | Event::Finish { .. } => {}
            Event::Usage(usage) => self.usage = usage,
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Failed(failed) => self.fail(&failed, out),
            Event::End => self.end(out),
        }
    }
}

impl StreamWriter {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            head: Head::of(context, None, None, None),
            sequence: 0,
            items: Vec::new(),
            open: false,
            calls: Vec::new(),
            logprobs: String::new(),
            finish: Finish::Stop,
            usage: Usage::MISSING,
            tier: None,
        }
    }

    fn start(&mut self, start: Start<'_>, out: &mut Writer) {
        self.head = Head::of(&self.context, start.id, start.model, start.created);
        for name in ["response.created", "response.in_progress"] {
            event(&mut self.sequence, out, name, |w| {
                w.object_at("response", |w| self.head.print(w, &self.context, &[], None));
            });
        }
    }

    fn delta(&mut self, delta: Delta<'_>, out: &mut Writer) {
        match delta {
            Delta::Text(text) => self.say(&text, false, out),
            Delta::Refusal(text) => self.say(&text, true, out),
            Delta::Thinking(text) => self.think(&text, out),
            Delta::Signature(signature) => self.prove(signature, out),
            Delta::Citation(citation) => self.cite(&citation, out),
            Delta::Logprobs(tokens) => self.logprobs = item::logprobs(&tokens),
            Delta::Call { call, id, name, signature } => {
                if let Some(signature) = signature {
                    self.close(out);
                    self.prove(signature, out);
                }
                self.call(call, &id, &name, out);
            }
            Delta::Arguments { call, text } => self.argue(call, &text, out),
            Delta::CallEnd { call } => {
                if let Some(at) = self.calls.iter().position(|open| open.0 == call) {
                    let (_, place) = self.calls.remove(at);
                    self.close_call(place, out);
                }
            }
        }
    }

    /// Begins an item after all open ones.
    fn begin(&mut self, content: Content, out: &mut Writer) -> usize {
        let place = self.items.len();
        let item = Item::new(&self.context.request_id, place, content);
        event(&mut self.sequence, out, "response.output_item.added", |w| {
            w.field("output_index", place as u64);
            w.key("item");
            item.print(w, "in_progress");
        });
        self.items.push(item);
        place
    }

    /// The open message and the place of its last part, which is a refusal or not; opens what is missing.
    fn piece(&mut self, refusal: bool, out: &mut Writer) {
        let last = if self.open { self.items.last() } else { None };
        match last.map(|item| &item.content) {
            Some(Content::Message(pieces)) if pieces.last().is_some_and(|piece| piece.refusal == refusal) => {
                return;
            }
            Some(Content::Message(_)) => self.close_piece(out),
            _ => {
                self.close_all(out);
                self.begin(Content::Message(Vec::new()), out);
                self.open = true;
            }
        }
        let piece = Piece::new(refusal);
        self.part_event(out, "response.content_part.added", 0, |w| {
            w.key("part");
            piece.print(w);
        });
        if let Some(pieces) = self.pieces() {
            pieces.push(piece);
        }
    }

    /// The parts of the open message.
    fn pieces(&mut self) -> Option<&mut Vec<Piece>> {
        match &mut self.items.last_mut()?.content {
            Content::Message(pieces) => Some(pieces),
            _ => None,
        }
    }

    /// An event about a part of the open message: the next one, or the one `back` places before it.
    fn part_event(&mut self, out: &mut Writer, name: &str, back: u64, members: impl FnOnce(&mut Writer)) {
        let place = self.items.len().saturating_sub(1);
        let Some(Item { id, content: Content::Message(pieces) }) = self.items.last() else { return };
        let index = (pieces.len() as u64).saturating_sub(back);
        event(&mut self.sequence, out, name, |w| {
            w.field("item_id", id);
            w.field("output_index", place as u64);
            w.field("content_index", index);
            members(w);
        });
    }

    fn say(&mut self, text: &Text<'_>, refusal: bool, out: &mut Writer) {
        if text.is_empty() {
            return;
        }
        self.piece(refusal, out);
        let tokens = std::mem::take(&mut self.logprobs);
        let name = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        self.part_event(out, name, 1, |w| {
            w.field("delta", text);
            if !refusal {
                w.array_at("logprobs", |w| w.literal(&tokens));
            }
        });
        if let Some(piece) = self.pieces().and_then(|pieces| pieces.last_mut()) {
            piece.text.append(text);
            if !tokens.is_empty() && !piece.logprobs.is_empty() {
                piece.logprobs.push(',');
            }
            piece.logprobs.push_str(&tokens);
        }
    }

    fn cite(&mut self, citation: &Citation<'_>, out: &mut Writer) {
        self.piece(false, out);
        let pieces = self.pieces();
        let Some(piece) = pieces.and_then(|pieces| pieces.last_mut()) else { return };
        let index = piece.citations;
        piece.cite(citation);
        self.part_event(out, "response.output_text.annotation.added", 1, |w| {
            w.field("annotation_index", index);
            w.key("annotation");
            item::print_annotation(w, citation);
        });
    }

    fn close_piece(&mut self, out: &mut Writer) {
        let Some(piece) = self.pieces().and_then(Vec::pop) else { return };
        let (name, member) = if piece.refusal {
            ("response.refusal.done", "refusal")
        } else {
            ("response.output_text.done", "text")
        };
        self.part_event(out, name, 0, |w| {
            w.field(member, &piece.text);
            if !piece.refusal {
                w.array_at("logprobs", |w| w.literal(&piece.logprobs));
            }
        });
        self.part_event(out, "response.content_part.done", 0, |w| {
            w.key("part");
            piece.print(w);
        });
        if let Some(pieces) = self.pieces() {
            pieces.push(piece);
        }
    }

    fn is_thinking(&self) -> bool {
        let last = self.items.last().filter(|_| self.open);
        matches!(last.map(|item| &item.content), Some(Content::Reasoning { .. }))
    }

    fn think(&mut self, text: &Text<'_>, out: &mut Writer) {
        if text.is_empty() {
            return;
        }
        if !self.is_thinking() {
            self.close_all(out);
            self.begin(Content::thought(None, None), out);
            self.open = true;
            self.summary_event(out, "response.reasoning_summary_part.added", |w| {
                w.key("part");
                item::print_summary(w, &Text::EMPTY);
            });
        }
        self.summary_event(out, "response.reasoning_summary_text.delta", |w| w.field("delta", text));
        if let Some(Item { content: Content::Reasoning { summary, .. }, .. }) = self.items.last_mut() {
            summary.get_or_insert(Text::EMPTY).append(text);
        }
    }

    fn summary_event(&mut self, out: &mut Writer, name: &str, members: impl FnOnce(&mut Writer)) {
        let Some(item) = self.items.last() else { return };
        event(&mut self.sequence, out, name, |w| {
            w.field("item_id", &item.id);
            w.field("output_index", self.items.len() as u64 - 1);
            w.field("summary_index", 0_u64);
            members(w);
        });
    }

    /// Proves the open thoughts, or stands for hidden ones.
    fn prove(&mut self, proof: Signature<'_>, out: &mut Writer) {
        if !self.is_thinking() {
            self.close_all(out);
            self.begin(Content::thought(None, None), out);
            self.open = true;
        }
        if let Some(Item { content: Content::Reasoning { signature, .. }, .. }) = self.items.last_mut() {
            *signature = Some(proof.into_owned());
        }
        self.close(out);
    }

    fn close_summary(&mut self, out: &mut Writer) {
        let Some(Item { content: Content::Reasoning { summary: Some(text), .. }, .. }) = self.items.last()
        else {
            return;
        };
        let text = text.clone();
        self.summary_event(out, "response.reasoning_summary_text.done", |w| w.field("text", &text));
        self.summary_event(out, "response.reasoning_summary_part.done", |w| {
            w.key("part");
            item::print_summary(w, &text);
        });
    }

    /// Calls stay open side by side, as their arguments may come mixed.
    fn call(&mut self, number: u64, call_id: &str, name: &str, out: &mut Writer) {
        self.close(out);
        let made = id::made("call", &self.context.request_id, number);
        let call_id = if call_id.is_empty() { made } else { call_id.to_owned() };
        let called = Called::of(&self.context, name);
        let content = Content::Call { call_id, called, arguments: Text::EMPTY };
        let place = self.begin(content, out);
        self.calls.push((number, place));
    }

    fn argue(&mut self, number: u64, text: &Text<'_>, out: &mut Writer) {
        let open = self.calls.iter().find(|open| open.0 == number);
        if let Some(&(_, place)) = open {
            self.argue_at(place, text, out);
        }
    }

    fn argue_at(&mut self, place: usize, text: &Text<'_>, out: &mut Writer) {
        let Item { id, content: Content::Call { arguments, called, .. } } = &mut self.items[place] else {
            return;
        };
        arguments.append(text);
        let Some([delta, ..]) = called.events() else { return };
        event(&mut self.sequence, out, delta, |w| {
            w.field("item_id", &*id);
            w.field("output_index", place as u64);
            w.field("delta", text);
        });
    }

    /// Clients of this protocol expect an empty object where there are no arguments.
    fn close_call(&mut self, place: usize, out: &mut Writer) {
        let bare = |called: &Called, arguments: &Text<'_>| called.takes_object() && arguments.is_empty();
        if matches!(&self.items[place].content, Content::Call { arguments, called, .. } if bare(called, arguments))
        {
            self.argue_at(place, &Text::escaped("{}"), out);
        }
        let Item { id, content: Content::Call { arguments, called, .. } } = &self.items[place] else {
            return;
        };
        if let Some([_, done, member]) = called.events() {
            event(&mut self.sequence, out, done, |w| {
                w.field("item_id", id);
                w.field("output_index", place as u64);
                w.field(member, arguments);
            });
        }
        self.item_done(place, out);
    }

    fn item_done(&mut self, place: usize, out: &mut Writer) {
        event(&mut self.sequence, out, "response.output_item.done", |w| {
            w.field("output_index", place as u64);
            w.key("item");
            self.items[place].print(w, "completed");
        });
    }

    /// Closes the open message or thoughts.
    fn close(&mut self, out: &mut Writer) {
        if std::mem::take(&mut self.open) {
            self.close_piece(out);
            self.close_summary(out);
            self.item_done(self.items.len() - 1, out);
        }
    }

    fn close_all(&mut self, out: &mut Writer) {
        self.close(out);
        for (_, place) in std::mem::take(&mut self.calls) {
            self.close_call(place, out);
        }
    }

    /// Clients reject a stream that does not begin with `response.created`.
    fn fail(&mut self, failed: &Failed<'_>, out: &mut Writer) {
        if self.sequence == 0 {
            self.start(Start { id: None, model: None, created: None, usage: Usage::MISSING }, out);
        }
        event(&mut self.sequence, out, "error", |w| error::print_members(w, failed));
    }

    fn end(&mut self, out: &mut Writer) {
        self.close_all(out);
        let end = End { finish: &self.finish, usage: &self.usage, tier: self.tier };
        let name = match end.status() {
            ("completed", _) => "response.completed",
            _ => "response.incomplete",
        };
        event(&mut self.sequence, out, name, |w| {
            w.object_at("response", |w| self.head.print(w, &self.context, &self.items, Some(&end)));
        });
    }
}

/// One event, and its number.
fn event(sequence: &mut u64, out: &mut Writer, name: &str, members: impl FnOnce(&mut Writer)) {
    out.literal("event: ");
    out.literal(name);
    out.literal("\ndata: ");
    out.object(|w| {
        w.field("type", name);
        w.field("sequence_number", *sequence);
        members(w);
    });
    out.literal("\n\n");
    *sequence += 1;
}
