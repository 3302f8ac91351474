package journey

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// Queue has the demo's operator look at the message queue, send messages of their
// own and mend a dead letter; somebody else is kept out.
func Queue(t *testing.T, chromium context.Context, site string) {
	grace := Browser(t, chromium, site)
	grace.SignUp("grace")
	if status := grace.Open("/queue"); status != http.StatusForbidden {
		t.Errorf("who is no operator gets %d", status)
	}

	ada := Browser(t, chromium, site)
	ada.SignIn("ada", "ada-ada-ada")
	if status := ada.Open("/queue"); status != http.StatusOK {
		t.Fatalf("the queue's page answers %d", status)
	}
	drawn := strings.Join(ada.Texts("#queues svg text"), " ")
	for _, name := range []string{"talks", "talk.published", "notifications.talk-published", "operation.started.import", "transfers.import"} {
		if !strings.Contains(drawn, name) {
			t.Errorf("%s is not drawn", name)
		}
	}
	ada.Shot("queue")

	send := func(exchange, key string, fields ...string) {
		t.Helper()
		ada.Open("/queue/tests")
		ada.Tap(`input[value="` + exchange + `"]`)
		ada.Fill("routing_key", key)
		for i := 0; i < len(fields); i += 2 {
			ada.Fill(fields[i], fields[i+1])
		}
		ada.Press("form[action='/queue/tests'] button[type=submit]")
	}
	send("test.topic", "colour.green.large")
	ada.Until("#test .steps code", "test.green")
	ada.Until("#test .steps .state", "acknowledged")
	send("test.direct", "blue", "failing_deliveries", "2")
	ada.Until("#test .steps .state", "failed", "failed", "acknowledged")
	ada.Shot("queue-test")

	// Of one that fails for good, the dead letter says why; discarded, it is gone.
	send("test.direct", "blue", "failing_deliveries", "20", "text", "poison")
	id := strings.TrimPrefix(ada.Location(), "/queue/tests/")
	letter := "/queue/dead-letters/test.blue/" + id
	ada.Until("#test .steps .state", "failed", "failed", "failed", "failed", "failed")
	ada.until("the dead letter", func() bool { return ada.Open(letter) == http.StatusOK })
	ada.Until(".outcome .error", "the test message asks for deliveries that fail")
	if history := ada.Texts("[aria-labelledby=history-title] li"); len(history) != 5 {
		t.Errorf("its history has %d deliveries: %q", len(history), history)
	}
	ada.Shot("queue-dead-letter")
	ada.Press(".outcome form button")
	ada.until("its second death", func() bool { return ada.Open(letter) == http.StatusOK })
	ada.Press(".outcome a.danger")
	ada.Press("main form button.danger")
	if status := ada.Open(letter); status != http.StatusNotFound {
		t.Errorf("a dead letter that was discarded answers %d", status)
	}
}
