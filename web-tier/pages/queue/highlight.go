package queue

import queuepb "techtalks.example/proto/techtalks/queue/v1"

// light is the way of one message through a drawing: what is on it is lit, all
// else is dimmed. A nil light leaves a drawing as it is.
type light struct {
	exchange string
	bindings map[[3]string]bool
	// notes say of each queue that gets the message what became of it there.
	notes map[string]string
}

func key(b *queuepb.Binding) [3]string { return [3]string{b.Exchange, b.Queue, b.Pattern} }

func (l *light) on(lit bool) string {
	switch {
	case l == nil:
		return ""
	case lit:
		return "lit"
	}
	return "dim"
}

func (l *light) onExchange(name string) string { return l.on(l != nil && l.exchange == name) }

func (l *light) onBinding(b *queuepb.Binding) string { return l.on(l != nil && l.bindings[key(b)]) }

func (l *light) onQueue(name string) string { return l.on(l.gets(name)) }

func (l *light) onWire(w wire) string {
	return l.on(l != nil && (w.to == l.exchange && w.to != "" || l.gets(w.from)))
}

func (l *light) gets(queue string) bool {
	if l == nil {
		return false
	}
	_, gets := l.notes[queue]
	return gets
}
