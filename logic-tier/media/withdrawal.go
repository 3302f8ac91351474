package media

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/queue"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// talkWithdrawn removes the recording of a talk that nobody finds any more.
func (m *Module) talkWithdrawn(ctx context.Context, d queue.Delivery) error {
	var said talkspb.TalkWithdrawn
	if err := proto.Unmarshal(d.Body, &said); err != nil {
		return queue.Reject(fmt.Errorf("body is no TalkWithdrawn: %w", err))
	}
	if said.Recording == "" {
		return nil
	}
	id, err := parseRecording(said.Recording)
	if err != nil {
		return queue.Reject(fmt.Errorf("recording %q of %s: %w", said.Recording, said.Talk, err))
	}
	return m.store.removeRecording(ctx, id)
}
