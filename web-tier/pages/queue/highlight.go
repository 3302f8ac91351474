package queue

import queuepb "techtalks.example/proto/techtalks/queue/v1"

// highlight marks the route of one message through a drawing: elements on the route
// are lit, all others dimmed. A nil highlight changes nothing.
type highlight struct {
	exchange string
	bindings map[bindingKey]bool
	// notes holds the progress of the message in each queue that receives it.
	notes map[string]string
}

type bindingKey struct{ exchange, queue, pattern string }

func keyOf(b *queuepb.Binding) bindingKey { return bindingKey{b.Exchange, b.Queue, b.Pattern} }

// class returns the CSS class of an element.
func (h *highlight) class(onRoute bool) string {
	switch {
	case h == nil:
		return ""
	case onRoute:
		return "lit"
	}
	return "dim"
}

func (h *highlight) exchangeClass(name string) string {
	return h.class(h != nil && h.exchange == name)
}

func (h *highlight) bindingClass(b *queuepb.Binding) string {
	return h.class(h != nil && h.bindings[keyOf(b)])
}

func (h *highlight) queueClass(name string) string { return h.class(h.receives(name)) }

func (h *highlight) wireClass(w wire) string {
	return h.class(h != nil && (w.to == h.exchange && w.to != "" || h.receives(w.from)))
}

// receives reports whether the queue receives the message.
func (h *highlight) receives(queue string) bool {
	if h == nil {
		return false
	}
	_, ok := h.notes[queue]
	return ok
}

// note returns the progress of the message in a queue.
func (h *highlight) note(queue string) string {
	if note, ok := h.notes[queue]; ok {
		return note
	}
	return "Not routed here"
}
