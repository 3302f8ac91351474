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

// unroutable is the URL name of the queue "", which holds messages that matched no
// binding. It cannot be the name of a queue: those begin with a module and a dot.
const unroutable = "unroutable"

const deadLettersPerPage = 30

// queueParam returns the URL name of a queue.
func queueParam(queue string) string {
	if queue == "" {
		return unroutable
	}
	return queue
}

// queueFromParam is the inverse of queueParam.
func queueFromParam(param string) string {
	if param == unroutable {
		return ""
	}
	return param
}

// deadLettersPath returns the URL of the list of a queue's dead letters.
func deadLettersPath(queue string) string {
	return "/queue/dead-letters?" + url.Values{"queue": {queueParam(queue)}}.Encode()
}

// deadLetterPath returns the URL of a dead letter, or of an action on a queue's dead
// letters.
func deadLetterPath(queue, idOrAction string) string {
	return "/queue/dead-letters/" + url.PathEscape(queueParam(queue)) + "/" + idOrAction
}

// ListDeadLetters renders a page of dead letters, latest first: those of a queue, the
// unroutable ones, or all.
func ListDeadLetters(v *ui.PageContext) error {
	query := v.Request.URL.Query()
	param := query.Get("queue")
	var answer *queuepb.ListDeadLettersResponse
	s, err := fetchSnapshot(v, func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Queues.ListDeadLetters(ctx, &queuepb.ListDeadLettersRequest{
			Queue: queueFromParam(param), Unroutable: param == unroutable, PageSize: deadLettersPerPage, PageToken: query.Get("page_token"),
		})
		return err
	})
	if err != nil {
		return err
	}
	return render(v, http.StatusOK, listPage(v, param, s, answer, resultMessage(query)))
}

// resultMessage describes the action that redirected to the list; empty without one.
// Only the first page of the list shows it.
func resultMessage(query url.Values) string {
	for _, action := range []string{"redriven", "discarded"} {
		n, err := strconv.ParseInt(query.Get(action), 10, 64)
		switch {
		case err != nil || n < 0 || query.Has("page_token"):
		case n == 0:
			return "No dead letters " + action + ": they were already redriven or discarded."
		default:
			return ui.Count(n, "dead letter", "dead letters") + " " + action + "."
		}
	}
	return ""
}

// ShowDeadLetter renders a dead letter with its body and the errors that led to it.
func ShowDeadLetter(v *ui.PageContext) error {
	id, err := strconv.ParseInt(v.Request.PathValue("id"), 10, 64)
	if err != nil {
		return errPageNotFound
	}
	var answer *queuepb.GetDeadLetterResponse
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Queues.GetDeadLetter(ctx, &queuepb.GetDeadLetterRequest{Queue: queueFromParam(v.Request.PathValue("queue")), Id: id})
		return err
	}); err != nil {
		return explainForbidden(err)
	}
	return render(v, http.StatusOK, deadLetterPage(v, answer.GetDeadLetter()))
}

var errPageNotFound = &logicclient.Problem{Status: http.StatusNotFound, Title: "Not found", Message: "There is no page at this address."}

// selection is the dead letters of a queue that an action applies to: those with the
// given ids, or all.
type selection struct {
	queue string
	ids   []int64
	all   bool
}

// parseSelection reads a selection from values: one or more "id", or "all".
func parseSelection(v *ui.PageContext, values url.Values) (c selection, err error) {
	c.queue, c.all = queueFromParam(v.Request.PathValue("queue")), values.Get("all") != ""
	for _, text := range values["id"] {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return c, errPageNotFound
		}
		c.ids = append(c.ids, id)
	}
	if c.all == (len(c.ids) > 0) {
		return c, &logicclient.Problem{Status: http.StatusBadRequest, Title: "Invalid selection", Message: "Select one or more dead letters of a queue, or all of them."}
	}
	return c, nil
}

// Redrive delivers dead letters again, with their delivery count reset. Unroutable
// messages are routed again.
func Redrive(v *ui.PageContext) error {
	return apply(v, "redriven", func(ctx context.Context, c selection) (int64, error) {
		answer, err := v.Site.Tier.Queues.RedriveDeadLetters(ctx, &queuepb.RedriveDeadLettersRequest{Queue: c.queue, Ids: c.ids, All: c.all})
		return answer.GetRedrivenCount(), err
	})
}

// Discard deletes dead letters for good.
func Discard(v *ui.PageContext) error {
	return apply(v, "discarded", func(ctx context.Context, c selection) (int64, error) {
		answer, err := v.Site.Tier.Queues.DiscardDeadLetters(ctx, &queuepb.DiscardDeadLettersRequest{Queue: c.queue, Ids: c.ids, All: c.all})
		return answer.GetDiscardedCount(), err
	})
}

// apply makes call with the selected dead letters, and redirects to the list with the
// number of dead letters affected as the parameter action.
func apply(v *ui.PageContext, action string, call func(context.Context, selection) (int64, error)) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	c, err := parseSelection(v, v.Request.PostForm)
	if err != nil {
		return err
	}
	n, err := call(v.Context(), c)
	if err != nil {
		return explainForbidden(err)
	}
	return v.Redirect(deadLettersPath(c.queue) + fmt.Sprintf("&%s=%d", action, n))
}

// ConfirmDiscard renders the confirmation of Discard, which cannot be undone.
func ConfirmDiscard(v *ui.PageContext) error {
	c, err := parseSelection(v, v.Request.URL.Query())
	if err != nil {
		return err
	}
	s, err := fetchSnapshot(v)
	if err != nil {
		return err
	}
	count := int64(len(c.ids))
	if c.all {
		count = deadLetterCount(s, c.queue)
	}
	return render(v, http.StatusOK, confirmPage(v, c, count))
}

// deadLetterCount returns the number of dead letters of a queue.
func deadLetterCount(s *queuepb.Snapshot, queue string) int64 {
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

// cancelPath returns the URL of the page from which the discard was requested.
func (c selection) cancelPath() string {
	if len(c.ids) == 1 {
		return deadLetterPath(c.queue, fmt.Sprint(c.ids[0]))
	}
	return deadLettersPath(c.queue)
}

// queueLabel returns the name of a queue for display.
func queueLabel(queue string) string {
	if queue == "" {
		return "Unroutable"
	}
	return queue
}

// prettyBody indents a JSON body and returns any other unchanged.
func prettyBody(body string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(body), "", "  ") != nil {
		return body
	}
	return b.String()
}

// traceID returns the ID of the message's trace; empty for none.
func traceID(d *queuepb.DeadLetter) string {
	trace, ok := transport.ParseTrace(d.Traceparent)
	if !ok {
		return ""
	}
	return trace.ID()
}

func headerNames(headers map[string]string) []string { return slices.Sorted(maps.Keys(headers)) }
