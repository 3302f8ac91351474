package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/proto/transport"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
)

// unroutable stands in addresses for the queue "" of those that no binding
// matched: a queue's name begins with its module's and a dot.
const unroutable = "unroutable"

// listed is how many dead letters a page lists.
const listed = 30

// named returns how a queue is named in addresses.
func named(queue string) string {
	if queue == "" {
		return unroutable
	}
	return queue
}

// meant is the reverse of named.
func meant(name string) string {
	if name == unroutable {
		return ""
	}
	return name
}

func deadLettersPath(queue string) string {
	return "/queue/dead-letters?" + url.Values{"queue": {named(queue)}}.Encode()
}

// deadLetterPath returns the page of a dead letter, or of what is done to some.
func deadLetterPath(queue, last string) string {
	return "/queue/dead-letters/" + url.PathEscape(named(queue)) + "/" + last
}

// ListDeadLetters lists dead letters, the latest first: a queue's, those that no
// binding matched, or all.
func ListDeadLetters(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	query := v.Request.URL.Query()
	name := query.Get("queue")
	var answer *queuepb.ListDeadLettersResponse
	s, err := snapshot(v, func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Queues.ListDeadLetters(ctx, &queuepb.ListDeadLettersRequest{
			Queue: meant(name), Unroutable: name == unroutable, PageSize: listed, PageToken: query.Get("page_token"),
		})
		return err
	})
	if err != nil {
		return err
	}
	return render(v, http.StatusOK, listPage(v, name, s, answer, done(query)))
}

// done says what was just done, once: not beside the pages that follow.
func done(query url.Values) string {
	for _, one := range []struct{ name, text string }{
		{"redriven", "delivered again, as if for the first time"}, {"discarded", "deleted"},
	} {
		n, err := strconv.ParseInt(query.Get(one.name), 10, 64)
		switch {
		case err != nil || n < 0 || query.Has("page_token"):
		case n == 0:
			return "None of them was there any more: somebody was quicker."
		case n == 1:
			return "1 dead letter is " + one.text + "."
		default:
			return ui.Number(n) + " dead letters are " + one.text + "."
		}
	}
	return ""
}

// ShowDeadLetter shows a dead letter with its body, and why it was given up.
func ShowDeadLetter(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	id, err := strconv.ParseInt(v.Request.PathValue("id"), 10, 64)
	if err != nil {
		return nowhere
	}
	var answer *queuepb.GetDeadLetterResponse
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Queues.GetDeadLetter(ctx, &queuepb.GetDeadLetterRequest{Queue: meant(v.Request.PathValue("queue")), Id: id})
		return err
	}); err != nil {
		return forOperators(err)
	}
	return render(v, http.StatusOK, deadLetterPage(v, answer.GetDeadLetter()))
}

var nowhere = &logicclient.Problem{Status: http.StatusNotFound, Title: "Not found", Message: "There is nothing at this address."}

// chosen are dead letters that something is to be done to.
type chosen struct {
	queue string
	ids   []int64
	all   bool
}

// chosenOf reads which are chosen: one or several "id", or "all".
func chosenOf(v *ui.PageContext, values url.Values) (c chosen, err error) {
	c.queue, c.all = meant(v.Request.PathValue("queue")), values.Get("all") != ""
	for _, text := range values["id"] {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return c, nowhere
		}
		c.ids = append(c.ids, id)
	}
	if c.all == (len(c.ids) > 0) {
		return c, &logicclient.Problem{Status: http.StatusBadRequest, Title: "Which ones?", Message: "Choose dead letters of a queue, or all of them."}
	}
	return c, nil
}

// Redrive has dead letters delivered again.
func Redrive(v *ui.PageContext) error {
	return change(v, "redriven", func(ctx context.Context, c chosen) (int64, error) {
		answer, err := v.Site.Tier.Queues.RedriveDeadLetters(ctx, &queuepb.RedriveDeadLettersRequest{Queue: c.queue, Ids: c.ids, All: c.all})
		return answer.GetRedrivenCount(), err
	})
}

// Discard deletes dead letters.
func Discard(v *ui.PageContext) error {
	return change(v, "discarded", func(ctx context.Context, c chosen) (int64, error) {
		answer, err := v.Site.Tier.Queues.DiscardDeadLetters(ctx, &queuepb.DiscardDeadLettersRequest{Queue: c.queue, Ids: c.ids, All: c.all})
		return answer.GetDiscardedCount(), err
	})
}

func change(v *ui.PageContext, what string, call func(context.Context, chosen) (int64, error)) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	if err := v.ParseForm(); err != nil {
		return err
	}
	c, err := chosenOf(v, v.Request.PostForm)
	if err != nil {
		return err
	}
	n, err := call(v.Context(), c)
	if err != nil {
		return forOperators(err)
	}
	return v.Redirect(deadLettersPath(c.queue) + fmt.Sprintf("&%s=%d", what, n))
}

// ConfirmDiscard asks before dead letters are deleted: that cannot be undone.
func ConfirmDiscard(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	c, err := chosenOf(v, v.Request.URL.Query())
	if err != nil {
		return err
	}
	s, err := snapshot(v)
	if err != nil {
		return err
	}
	many := int64(len(c.ids))
	if c.all {
		many = deadIn(s, c.queue)
	}
	return render(v, http.StatusOK, confirmPage(v, c, many))
}

// deadIn returns how many dead letters a queue has.
func deadIn(s *queuepb.Snapshot, queue string) int64 {
	if queue == "" {
		return s.UnroutableCount
	}
	for _, q := range s.Queues {
		if q.Name == queue {
			return q.DeadLetterCount
		}
	}
	return 0
}

// back is where whoever does not discard after all came from.
func (c chosen) back() string {
	if len(c.ids) == 1 {
		return deadLetterPath(c.queue, fmt.Sprint(c.ids[0]))
	}
	return deadLettersPath(c.queue)
}

// callQueue is how a queue is called on pages.
func callQueue(queue string) string {
	if queue == "" {
		return "Unroutable"
	}
	return queue
}

// readable is a body with its JSON laid out; any other is as it is.
func readable(body string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(body), "", "  ") != nil {
		return body
	}
	return b.String()
}

// traceOf returns the id of the trace that a message belongs to; empty for none.
func traceOf(d *queuepb.DeadLetter) string {
	trace, ok := transport.ParseTrace(d.Traceparent)
	if !ok {
		return ""
	}
	return trace.ID()
}

func headerNames(headers map[string]string) []string { return slices.Sorted(maps.Keys(headers)) }
