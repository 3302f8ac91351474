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

// fields are those of the form, in the contract's names.
var fields = []string{"exchange", "routing_key", "headers", "priority", "delay", "text", "failing_deliveries", "reject"}

// explained says how an exchange of each type compares a message with its
// bindings.
var explained = map[string]string{
	"direct":  "To the queues whose binding is the routing key, letter by letter.",
	"topic":   "To the queues whose pattern matches the routing key word by word: * is one word, # any number of them.",
	"fanout":  "To every queue that is bound, whatever the message says.",
	"headers": "To the queues whose headers the message has: all of them, or any, as the binding asks. The routing key is not looked at.",
}

// newForm is the form as it is at first.
func newForm(s *queuepb.Snapshot) ui.Fields {
	f := ui.NewFields(map[string]string{"priority": "0", "delay": "0", "failing_deliveries": "0", "text": "Hello, queue"})
	for _, name := range fields {
		f.Values[name] += ""
	}
	if all := testExchanges(s); len(all) > 0 {
		f.Values["exchange"] = all[0].Name
	}
	return f
}

// formOf is the form with which a message like this one is sent.
func formOf(m *queuepb.SendTestMessageRequest) ui.Fields {
	f := ui.NewFields(map[string]string{
		"exchange": m.GetExchange(), "routing_key": m.GetRoutingKey(), "text": m.GetText(), "headers": headerLines(m.GetHeaders()),
		"priority": fmt.Sprint(m.GetPriority()), "delay": seconds(m.GetDelay()), "failing_deliveries": fmt.Sprint(m.GetFailingDeliveries()), "reject": "",
	})
	if m.GetReject() {
		f.Values["reject"] = "yes"
	}
	return f
}

// testExchanges are those to try, by name.
func testExchanges(s *queuepb.Snapshot) []*queuepb.Exchange {
	all := slices.Clone(s.Exchanges)
	all = slices.DeleteFunc(all, func(e *queuepb.Exchange) bool { return !e.Test })
	slices.SortFunc(all, func(a, b *queuepb.Exchange) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Try shows the form alone, on a page that does not load itself anew. With "like"
// it is filled in as that test message was.
func Try(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	like, err := strconv.ParseInt(v.Request.URL.Query().Get("like"), 10, 64)
	if err != nil {
		return showTry(v, http.StatusOK, nil)
	}
	answer, err := v.Site.Tier.Queues.GetTestMessage(v.Context(), &queuepb.GetTestMessageRequest{Id: like})
	if err != nil {
		return showTry(v, http.StatusOK, nil) // it is only to spare typing
	}
	f := formOf(answer.GetMessage())
	return showTry(v, http.StatusOK, &f)
}

func showTry(v *ui.PageContext, status int, f *ui.Fields) error {
	s, err := snapshot(v)
	if err != nil {
		return err
	}
	if f == nil {
		fresh := newForm(s)
		f = &fresh
	}
	return render(v, status, tryPage(v, s, *f))
}

// Send publishes a test message, and leads to what becomes of it.
func Send(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	err := v.ParseForm()
	var answer *queuepb.SendTestMessageResponse
	if err == nil {
		var m *queuepb.SendTestMessageRequest
		if m, err = typed(v); err == nil {
			answer, err = v.Site.Tier.Queues.SendTestMessage(v.Context(), m)
		}
	}
	if err == nil {
		return v.Redirect(fmt.Sprintf("/queue/tests/%d", answer.Id))
	}
	if p := logicclient.Explain(err); p.Reason == "EXCHANGE_NOT_FOUND" {
		err = wrong(map[string]string{"exchange": p.Message})
	}
	if f, status, again := v.WithErrors(v.Submitted(fields...), err, nil); again {
		return showTry(v, status, &f)
	}
	return forOperators(err)
}

// typed reads the form. What is no number or no header is said here; what may be
// asked for is the logic tier's to say.
func typed(v *ui.PageContext) (*queuepb.SendTestMessageRequest, error) {
	form := v.Request.PostForm
	bad := map[string]string{}
	number := func(name string) int32 {
		text := strings.TrimSpace(form.Get(name))
		if text == "" {
			return 0
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			bad[name] = "use a whole number"
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
	var complaint string
	if m.Headers, complaint = headersIn(form.Get("headers")); complaint != "" {
		bad["headers"] = complaint
	}
	if m.Exchange == "" {
		bad["exchange"] = "choose one"
	}
	if len(bad) > 0 {
		return nil, wrong(bad)
	}
	return m, nil
}

func wrong(fields map[string]string) *logicclient.Problem {
	return &logicclient.Problem{Status: http.StatusBadRequest, Title: "That does not work", Message: "What was sent could not be taken.", Fields: fields}
}

// headersIn reads a header a line, "key=value"; empty lines are passed over.
func headersIn(text string) (headers map[string]string, complaint string) {
	headers = map[string]string{}
	for i, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		_, twice := headers[name]
		switch {
		case !found || name == "":
			return nil, fmt.Sprintf("line %d is no header: write key=value", i+1)
		case twice:
			return nil, fmt.Sprintf("line %d names %q a second time: write it once", i+1, name)
		}
		headers[name] = value
	}
	return headers, ""
}

func headerLines(headers map[string]string) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		lines = append(lines, name+"="+headers[name])
	}
	return strings.Join(lines, "\n")
}

func seconds(d *durationpb.Duration) string {
	return strconv.FormatFloat(d.AsDuration().Seconds(), 'f', -1, 64)
}

// ShowTest shows a test message: which bindings match it, and its deliveries so
// far. The page goes on until the last of them.
func ShowTest(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	id, err := strconv.ParseInt(v.Request.PathValue("test"), 10, 64)
	if err != nil {
		return nowhere
	}
	var answer *queuepb.GetTestMessageResponse
	s, err := snapshot(v, func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Queues.GetTestMessage(ctx, &queuepb.GetTestMessageRequest{Id: id})
		return err
	})
	if err != nil {
		return err
	}
	v.ReloadWithoutScripts = !settled(s, answer, time.Now())
	if v.ReloadWithoutScripts {
		v.Scripts = append(v.Scripts, "testmessage.js")
	}
	return render(v, http.StatusOK, testPage(v, id, s, answer))
}

func render(v *ui.PageContext, status int, page templ.Component) error {
	v.Styles = append(v.Styles, "queue.css")
	return v.Render(status, page)
}
