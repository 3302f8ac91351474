package queue

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"google.golang.org/protobuf/types/known/durationpb"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
)

// formFields are the fields of the form, by their names in the contract.
var formFields = []string{"exchange", "routing_key", "headers", "priority", "delay", "text", "failing_deliveries", "reject"}

// exchangeHelp describes how an exchange of each type routes a message.
var exchangeHelp = map[string]string{
	"direct":  "Routes to queues whose binding key equals the routing key.",
	"topic":   "Routes to queues whose pattern matches the routing key word by word: * matches one word, # any number.",
	"fanout":  "Routes to every bound queue.",
	"headers": "Routes to queues whose binding headers the message has: all of them or any, depending on the binding. The routing key is ignored.",
}

// newForm returns the form with default values.
func newForm(s *queuepb.Snapshot) ui.Fields {
	f := ui.NewFields(map[string]string{"priority": "0", "delay": "0", "failing_deliveries": "0", "text": "Hello, queue"})
	for _, name := range formFields {
		f.Values[name] += ""
	}
	if exchanges := testExchanges(s); len(exchanges) > 0 {
		f.Values["exchange"] = exchanges[0].Name
	}
	return f
}

// formFor returns the form filled in with a message.
func formFor(m *queuepb.SendTestMessageRequest) ui.Fields {
	f := ui.NewFields(map[string]string{
		"exchange": m.GetExchange(), "routing_key": m.GetRoutingKey(), "text": m.GetText(), "headers": formatHeaders(m.GetHeaders()),
		"priority": fmt.Sprint(m.GetPriority()), "delay": formatSeconds(m.GetDelay()), "failing_deliveries": fmt.Sprint(m.GetFailingDeliveries()), "reject": "",
	})
	if m.GetReject() {
		f.Values["reject"] = "yes"
	}
	return f
}

// testExchanges returns the exchanges for test messages, by name.
func testExchanges(s *queuepb.Snapshot) []*queuepb.Exchange {
	exchanges := slices.Clone(s.Exchanges)
	exchanges = slices.DeleteFunc(exchanges, func(e *queuepb.Exchange) bool { return !e.Test })
	slices.SortFunc(exchanges, func(a, b *queuepb.Exchange) int { return strings.Compare(a.Name, b.Name) })
	return exchanges
}

// Try renders the form on a page of its own, which does not reload. With "like" in the
// query, the form is filled in with that test message.
func Try(v *ui.PageContext) error {
	like, err := strconv.ParseInt(v.Request.URL.Query().Get("like"), 10, 64)
	if err != nil {
		return showTry(v, http.StatusOK, nil)
	}
	answer, err := v.Site.Tier.Queues.GetTestMessage(v.Context(), &queuepb.GetTestMessageRequest{Id: like})
	if err != nil {
		return showTry(v, http.StatusOK, nil) // the form works without prefilled values
	}
	f := formFor(answer.GetMessage())
	return showTry(v, http.StatusOK, &f)
}

// showTry renders the page of the form; a nil f stands for the default values.
func showTry(v *ui.PageContext, status int, f *ui.Fields) error {
	s, err := fetchSnapshot(v)
	if err != nil {
		return err
	}
	if f == nil {
		form := newForm(s)
		f = &form
	}
	return render(v, status, tryPage(v, s, *f))
}

// Send publishes a test message and redirects to its page.
func Send(v *ui.PageContext) error {
	err := v.ParseForm()
	var answer *queuepb.SendTestMessageResponse
	if err == nil {
		var m *queuepb.SendTestMessageRequest
		if m, err = parseForm(v); err == nil {
			answer, err = v.Site.Tier.Queues.SendTestMessage(v.Context(), m)
		}
	}
	if err == nil {
		return v.Redirect(fmt.Sprintf("/queue/tests/%d", answer.Id))
	}
	if p := logicclient.Explain(err); p.Reason == "EXCHANGE_NOT_FOUND" {
		err = invalidForm(map[string]string{"exchange": p.Message})
	}
	if f, status, ok := v.WithErrors(v.Submitted(formFields...), err, nil); ok {
		return showTry(v, status, &f)
	}
	return explainForbidden(err)
}

// parseForm reads the form. It rejects malformed numbers and headers; the logic tier
// validates their values.
func parseForm(v *ui.PageContext) (*queuepb.SendTestMessageRequest, error) {
	form := v.Request.PostForm
	violations := map[string]string{}
	number := func(name string) int32 {
		text := strings.TrimSpace(form.Get(name))
		if text == "" {
			return 0
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			violations[name] = "use a whole number"
		}
		return int32(n)
	}
	m := &queuepb.SendTestMessageRequest{
		Exchange: form.Get("exchange"), RoutingKey: strings.TrimSpace(form.Get("routing_key")), Text: form.Get("text"),
		Priority: number("priority"), FailingDeliveries: number("failing_deliveries"), Reject: form.Get("reject") != "",
	}
	if delay := number("delay"); delay != 0 {
		m.Delay = durationpb.New(time.Duration(delay) * time.Second)
	}
	var violation string
	if m.Headers, violation = parseHeaders(form.Get("headers")); violation != "" {
		violations["headers"] = violation
	}
	if m.Exchange == "" {
		violations["exchange"] = "choose an exchange"
	}
	if len(violations) > 0 {
		return nil, invalidForm(violations)
	}
	return m, nil
}

// invalidForm returns a problem with a violation for each of the fields.
func invalidForm(fields map[string]string) *logicclient.Problem {
	return &logicclient.Problem{Status: http.StatusBadRequest, Title: "Invalid form", Message: "Some fields are invalid.", Fields: fields}
}

// parseHeaders reads one header per line, as key=value, and skips empty lines. An
// invalid line is reported as a violation.
func parseHeaders(text string) (headers map[string]string, violation string) {
	headers = map[string]string{}
	for i, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		_, duplicate := headers[name]
		switch {
		case !ok || name == "":
			return nil, fmt.Sprintf("line %d is not a header; use key=value", i+1)
		case duplicate:
			return nil, fmt.Sprintf("line %d repeats the header %q; use it once", i+1, name)
		}
		headers[name] = value
	}
	return headers, ""
}

// formatHeaders is the inverse of parseHeaders.
func formatHeaders(headers map[string]string) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		lines = append(lines, name+"="+headers[name])
	}
	return strings.Join(lines, "\n")
}

func formatSeconds(d *durationpb.Duration) string {
	return strconv.FormatFloat(d.AsDuration().Seconds(), 'f', -1, 64)
}

// ShowTest renders a test message: the bindings that match it, and its deliveries. The
// page refreshes until the message is settled.
func ShowTest(v *ui.PageContext) error {
	id, err := strconv.ParseInt(v.Request.PathValue("test"), 10, 64)
	if err != nil {
		return errPageNotFound
	}
	var answer *queuepb.GetTestMessageResponse
	s, err := fetchSnapshot(v, func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Queues.GetTestMessage(ctx, &queuepb.GetTestMessageRequest{Id: id})
		return err
	})
	if err != nil {
		return err
	}
	v.ReloadWithoutScripts = !isSettled(s, answer, time.Now())
	if v.ReloadWithoutScripts {
		v.Scripts = append(v.Scripts, "testmessage.js")
	}
	return render(v, http.StatusOK, testPage(v, id, s, answer))
}

// render renders a page with the style sheet of the queue pages.
func render(v *ui.PageContext, status int, page templ.Component) error {
	v.Styles = append(v.Styles, "queue.css")
	return v.Render(status, page)
}
