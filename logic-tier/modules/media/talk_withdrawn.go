package media

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/platform/queue"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// talkWithdrawn removes the recording of a talk that nobody finds any more.
func (m *Module) talkWithdrawn(ctx context.Context, _ queue.Delivery, said *talkspb.TalkWithdrawn) error {
	if said.Recording == "" {
		return nil
	}
	id, err := parseRecording(said.Recording)
	if err != nil {
		return queue.Reject(fmt.Errorf("recording %q of %s: %w", said.Recording, said.Talk, err))
	}
	return m.store.removeRecording(ctx, id)
}
