package live

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"techtalks.example/web-tier/platform/logictest"
)

// One session, and one address with many sessions, leave the others room in a feed.
func TestFeedIsSharedBetweenSessionsAndAddresses(t *testing.T) {
	feed := NewInbox(logictest.New(t).Logic.Notifications, slog.New(slog.DiscardHandler))
	follow := func(session, address string) (*reader, error) {
		r := feed.newReader(session, "", address, false)
		return r, feed.add(r)
	}
	until := func(who string, session, address func(n int) string) (followed []*reader) {
		t.Helper()
		for n := range maxReaders {
			r, err := follow(session(n), address(n))
			if err == errShare {
				return followed
			}
			if err != nil {
				t.Fatalf("%s: %v", who, err)
			}
			followed = append(followed, r)
		}
		t.Fatalf("%s has no share", who)
		return nil
	}
	always := func(text string) func(int) string { return func(int) string { return text } }
	each := func(text string) func(int) string { return func(n int) string { return fmt.Sprint(text, n) } }
	greedy := until("a session", always("greedy"), each("192.0.2."))
	pupils := until("an address", each("pupil "), always("school"))
	if len(greedy) < 20 || len(pupils) < 1000 {
		t.Errorf("a session has %d streams and an address %d: too few for a browser or a school", len(greedy), len(pupils))
	}
	if _, err := follow("other", "home"); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	feed.remove(greedy[0])
	if _, err := follow("greedy", "home"); err != nil {
		t.Errorf("after one of its streams ended: %v", err)
	}
	// A long poll is told so; see TestMoreBrowsersThanThereIsRoomForAreSentAway for streams.
	answer := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/inbox/wait", nil)
	feed.Wait(answer, request, "greedy", "")
	if answer.Code != http.StatusTooManyRequests || answer.Header().Get("Retry-After") == "" {
		t.Errorf("a long poll beyond the share: %d, %v", answer.Code, answer.Header())
	}
}
