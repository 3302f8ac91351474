package following_test

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/modules/following"
	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// deliver passes a message to the consumer of a queue.
func deliver(ctx context.Context, t *testing.T, consumers []queue.Consumer, name string, body proto.Message) {
	t.Helper()
	encoded, err := proto.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(consumers, func(c queue.Consumer) bool { return c.Queue == name })
	if i < 0 {
		t.Fatalf("queue %s has no consumer", name)
	}
	d := queue.Delivery{Queue: name}
	d.Body, d.ContentType = encoded, queue.ContentType
	if err := consumers[i].Handle(ctx, d); err != nil {
		t.Fatal(err)
	}
}

func TestFollowsAreDeletedWithAccountAndChannel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	consumers := following.New(following.Deps{DB: s.database.Open("following")}).Consumers()
	for _, slug := range []string{"c0", "c1"} {
		s.follow(t, ada, slug)
		s.follow(t, grace, slug)
	}
	for range 2 { // the second delivery changes nothing
		deliver(t.Context(), t, consumers, "following.account-closed", &accountspb.AccountClosed{AccountId: ada.ID})
		if s.follows(t, ada, "c0") || s.follows(t, ada, "c1") || !s.follows(t, grace, "c0") || !s.follows(t, grace, "c1") {
			t.Fatal("account.closed deleted the wrong follows")
		}
	}
	for range 2 {
		deliver(t.Context(), t, consumers, "following.channel-removed", &talkspb.ChannelRemoved{Channel: "channels/c0", ChannelId: 1})
		if s.follows(t, grace, "c0") || !s.follows(t, grace, "c1") {
			t.Fatal("channel.removed deleted the wrong follows")
		}
	}
}
