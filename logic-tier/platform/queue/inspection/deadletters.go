package inspection

import (
	"context"
	"encoding/hex"
	"errors"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/pagetoken"
	"techtalks.example/logic-tier/platform/queue/ledger"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

const (
	defaultPageSize = 20
	maxPageSize     = 100
)

var (
	errDeadLetterNotFound = apperror.New(apperror.NotFound, "DEAD_LETTER_NOT_FOUND", "no such dead letter: it was redriven or discarded")
	errIDsOrAll           = apperror.InvalidField("FIELDS_INVALID", "ids", "give the ids of dead letters, or set all")
	errUnroutableInQueue  = apperror.InvalidField("FIELDS_INVALID", "unroutable", "leave the queue empty: unroutable messages have no queue")
)

func deadLetterMessage(l ledger.DeadLetter) *queuepb.DeadLetter {
	return &queuepb.DeadLetter{
		Queue: l.Queue, Id: l.ID, DeathTime: timestamppb.New(l.Died), DeliveryCount: int32(l.Count), PublishTime: timestamppb.New(l.Published),
		Exchange: l.Exchange, RoutingKey: l.RoutingKey, Type: l.Type, Headers: l.Headers, Traceparent: l.Traceparent, Error: l.Error,
	}
}

// ListDeadLetters returns a page of dead letters; see the contract.
func (s *Service) ListDeadLetters(ctx context.Context, r *queuepb.ListDeadLettersRequest) (*queuepb.ListDeadLettersResponse, error) {
	var queue *string // nil: all queues
	var filter string
	switch {
	case r.Unroutable && r.Queue != "":
		return nil, errUnroutableInQueue
	case r.Unroutable || r.Queue != "":
		queue, filter = &r.Queue, "of"
	}
	fingerprint := pagetoken.QueryFingerprint("dead letters", filter, r.Queue)
	token, err := pagetoken.Decode[ledger.DeadLetterKey](r.PageToken, fingerprint)
	if err != nil {
		return nil, err
	}
	after := ledger.FirstDeadLetterKey()
	if token != nil {
		after = token.Key
	}
	size := pagetoken.Size(r.PageSize, defaultPageSize, maxPageSize)
	letters, err := ledger.ListDeadLetters(ctx, s.deps.DB, queue, after, size+1)
	if err != nil {
		return nil, err
	}
	response := &queuepb.ListDeadLettersResponse{}
	if len(letters) > size {
		letters = letters[:size]
		last := letters[size-1]
		response.NextPageToken = pagetoken.Token[ledger.DeadLetterKey]{Key: ledger.DeadLetterKey{Died: last.Died, Queue: last.Queue, ID: last.ID}}.Encode(fingerprint)
	}
	for _, l := range letters {
		response.DeadLetters = append(response.DeadLetters, deadLetterMessage(l))
	}
	return response, nil
}

// GetDeadLetter returns a dead letter with its body and history; see the contract.
func (s *Service) GetDeadLetter(ctx context.Context, r *queuepb.GetDeadLetterRequest) (*queuepb.GetDeadLetterResponse, error) {
	l, err := ledger.FindDeadLetter(ctx, s.deps.DB, r.Queue, r.Id)
	if errors.Is(err, ledger.ErrDeadLetterNotFound) {
		return nil, errDeadLetterNotFound
	}
	if err != nil {
		return nil, err
	}
	response := deadLetterMessage(l)
	for _, f := range l.History {
		response.History = append(response.History, &queuepb.Failure{DeliveryCount: int32(f.Count), Time: timestamppb.New(f.At), Host: f.Host, Error: f.Error})
	}
	response.Body = s.bodyText(l)
	return &queuepb.GetDeadLetterResponse{DeadLetter: response}, nil
}

// bodyText returns the body of a known type as JSON, any other in hexadecimal.
func (s *Service) bodyText(l ledger.DeadLetter) string {
	if known := s.topology.bodies[l.Type]; known != nil {
		body := known.ProtoReflect().New().Interface()
		if proto.Unmarshal(l.Body, body) == nil {
			if text, err := (protojson.MarshalOptions{Multiline: true, Indent: "  "}).Marshal(body); err == nil {
				return string(text)
			}
		}
	}
	return hex.EncodeToString(l.Body)
}

// selected validates that a request has either ids or all set, and returns the ids;
// none means all.
func selected(ids []int64, all bool) ([]int64, error) {
	if all == (len(ids) > 0) {
		return nil, errIDsOrAll
	}
	return ids, nil
}

// RedriveDeadLetters moves dead letters back to their queue; see the contract.
func (s *Service) RedriveDeadLetters(ctx context.Context, r *queuepb.RedriveDeadLettersRequest) (*queuepb.RedriveDeadLettersResponse, error) {
	ids, err := selected(r.Ids, r.All)
	if err != nil {
		return nil, err
	}
	n, err := s.deps.Broker.Redrive(ctx, r.Queue, ids)
	if err != nil {
		return nil, err
	}
	s.deps.Log.Info("queue: dead letters redriven", "queue", r.Queue, "letters", n)
	return &queuepb.RedriveDeadLettersResponse{RedrivenCount: int64(n)}, nil
}

// DiscardDeadLetters deletes dead letters; see the contract.
func (s *Service) DiscardDeadLetters(ctx context.Context, r *queuepb.DiscardDeadLettersRequest) (*queuepb.DiscardDeadLettersResponse, error) {
	ids, err := selected(r.Ids, r.All)
	if err != nil {
		return nil, err
	}
	n, err := ledger.DiscardDeadLetters(ctx, s.deps.DB, r.Queue, ids)
	if err != nil {
		return nil, err
	}
	s.deps.Log.Info("queue: dead letters discarded", "queue", r.Queue, "letters", n)
	return &queuepb.DiscardDeadLettersResponse{DiscardedCount: int64(n)}, nil
}
