package talks

import (
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/caller"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// message returns the channel as a protobuf message for a caller, nil if anonymous.
func (c channel) message(person *caller.Person) *talkspb.Channel {
	m := &talkspb.Channel{
		Name: "channels/" + c.slug, Id: c.id, Title: c.title, Description: c.description,
		TalkCount: c.talkCount, CreateTime: timestamppb.New(c.created),
		CanPublish: person != nil && c.ownedBy(*person),
	}
	if c.ownerHandle != "" {
		m.Owner = caller.Person{Handle: c.ownerHandle}.Name()
	}
	return m
}

// message returns the talk as a protobuf message, without the fields that depend on the
// caller.
func (t talk) message() *talkspb.Talk {
	m := &talkspb.Talk{
		Name: t.name(), Title: t.title, Speakers: t.speakers, Language: t.language, Tags: t.tags, Description: t.description,
		MediaUrl: t.mediaURL, Recording: t.recording, RecordedDate: t.recorded, PublishTime: timestamppb.New(t.published), ChannelTitle: t.channel.title,
	}
	if t.duration > 0 {
		m.Duration = durationpb.New(t.duration)
	}
	if !t.updated.IsZero() {
		m.UpdateTime = timestamppb.New(t.updated)
	}
	return m
}

// messageFor returns the talk as a protobuf message for a caller, nil if anonymous.
func (t talk) messageFor(person *caller.Person) *talkspb.Talk {
	m := t.message()
	m.CanEdit = person != nil && t.channel.ownedBy(*person)
	return m
}

// fromMessage returns a talk with the fields that clients can write.
func fromMessage(m *talkspb.Talk) talk {
	return talk{
		title: m.Title, speakers: m.Speakers, language: m.Language, tags: m.Tags, description: m.Description,
		mediaURL: m.MediaUrl, duration: m.Duration.AsDuration(), recorded: m.RecordedDate,
	}
}
