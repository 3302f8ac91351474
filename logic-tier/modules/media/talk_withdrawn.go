package media

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/platform/queue"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// handleTalkWithdrawn deletes the recording of a withdrawn talk. It is idempotent.
func (m *Module) handleTalkWithdrawn(ctx context.Context, _ queue.Delivery, event *talkspb.TalkWithdrawn) error {
	if event.Recording == "" {
		return nil
	}
	id, err := parseRecording(event.Recording)
	if err != nil {
		return queue.Reject(fmt.Errorf("recording %q of %s: %w", event.Recording, event.Talk, err))
	}
	return m.store.deleteRecording(ctx, id)
}
