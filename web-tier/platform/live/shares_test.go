package live

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"techtalks.example/web-tier/platform/logictest"
)

func TestFeedLimitsSharesOfSessionsAndAddresses(t *testing.T) {
	feed := NewInbox(logictest.New(t).Logic.Notifications, slog.New(slog.DiscardHandler))
	add := func(session, address string) (*subscriber, error) {
		sub := feed.newSubscriber(session, "", address, false)
		return sub, feed.add(sub)
	}
	fillShare := func(key string, session, address func(n int) string) (subscribers []*subscriber) {
		t.Helper()
		for n := range maxSubscribers {
			sub, err := add(session(n), address(n))
			if err == errShare {
				return subscribers
			}
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			subscribers = append(subscribers, sub)
		}
		t.Fatalf("%s is not limited", key)
		return nil
	}
	constant := func(text string) func(int) string { return func(int) string { return text } }
	distinct := func(text string) func(int) string { return func(n int) string { return fmt.Sprint(text, n) } }
	greedy := fillShare("session", constant("greedy"), distinct("192.0.2."))
	pupils := fillShare("address", distinct("pupil "), constant("school"))
	if len(greedy) < 20 || len(pupils) < 1000 {
		t.Errorf("got shares of %d for a session and %d for an address, want at least 20 and 1000", len(greedy), len(pupils))
	}
	if _, err := add("other", "home"); err != nil {
		t.Errorf("another session and address: %v", err)
	}
	feed.remove(greedy[0])
	if _, err := add("greedy", "home"); err != nil {
		t.Errorf("after a stream of the session has ended: %v", err)
	}
	// For streams see TestStreamClosesWithRetryWhenFeedIsFull.
	response := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/inbox/wait", nil)
	feed.Wait(response, request, "greedy", "")
	if response.Code != http.StatusTooManyRequests || response.Header().Get("Retry-After") == "" {
		t.Errorf("long poll beyond the share: got %d %v, want 429 with Retry-After", response.Code, response.Header())
	}
}
