package journey

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// Queue opens the queue pages as the demo's operator, sends test messages, and redrives
// and discards a dead letter. Another account is refused.
func Queue(t *testing.T, chromium context.Context, site string) {
	grace := Browser(t, chromium, site)
	grace.SignUp("grace")
	if status := grace.Open("/queue"); status != http.StatusForbidden {
		t.Errorf("queue page for an account that is no operator: got status %d, want 403", status)
	}

	ada := Browser(t, chromium, site)
	ada.SignIn("ada", "ada-ada-ada")
	if status := ada.Open("/queue"); status != http.StatusOK {
		t.Fatalf("queue page: got status %d, want 200", status)
	}
	diagram := strings.Join(ada.Texts("#queues svg text"), " ")
	for _, name := range []string{"talks", "talk.published", "notifications.talk-published", "operation.started.import", "transfers.import"} {
		if !strings.Contains(diagram, name) {
			t.Errorf("%s is missing from the diagram", name)
		}
	}
	ada.Screenshot("queue")

	send := func(exchange, key string, fields ...string) {
		t.Helper()
		ada.Open("/queue/tests")
		ada.Click(`input[value="` + exchange + `"]`)
		ada.Fill("routing_key", key)
		for i := 0; i < len(fields); i += 2 {
			ada.Fill(fields[i], fields[i+1])
		}
		ada.Press("form[action='/queue/tests'] button[type=submit]")
	}
	send("test.topic", "colour.green.large")
	ada.WaitForTexts("#test .steps code", "test.green")
	ada.WaitForTexts("#test .steps .state", "acknowledged")
	send("test.direct", "blue", "failing_deliveries", "2")
	ada.WaitForTexts("#test .steps .state", "failed", "failed", "acknowledged")
	ada.Screenshot("queue-test")

	// A message that keeps failing becomes a dead letter with the reason; redriven, it fails
	// again; discarded, it is deleted.
	send("test.direct", "blue", "failing_deliveries", "20", "text", "poison")
	id := strings.TrimPrefix(ada.Location(), "/queue/tests/")
	letter := "/queue/dead-letters/test.blue/" + id
	ada.WaitForTexts("#test .steps .state", "failed", "failed", "failed", "failed", "failed")
	ada.poll("the dead letter", func() bool { return ada.Open(letter) == http.StatusOK })
	ada.WaitForTexts(".outcome .error", "the test message asks for deliveries that fail")
	if history := ada.Texts("[aria-labelledby=history-title] li"); len(history) != 5 {
		t.Errorf("got %d deliveries in the history, want 5: %q", len(history), history)
	}
	ada.Screenshot("queue-dead-letter")
	ada.Press(".outcome form button")
	ada.poll("the dead letter to return", func() bool { return ada.Open(letter) == http.StatusOK })
	ada.Press(".outcome a.danger")
	ada.Press("main form button.danger")
	if status := ada.Open(letter); status != http.StatusNotFound {
		t.Errorf("discarded dead letter: got status %d, want 404", status)
	}
}
