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
	// Page sizes of the list.
	defaultPage = 20
	maxPage     = 100
)

var (
	errNoLetter = apperror.New(apperror.NotFound, "DEAD_LETTER_NOT_FOUND", "this dead letter is not there: it was redriven or discarded")
	errWhich    = apperror.InvalidField("FIELDS_INVALID", "ids", "name dead letters by their ids, or say all")
	errBoth     = apperror.InvalidField("FIELDS_INVALID", "unroutable", "leave the queue empty: those that no binding matched were in none")
)

func message(l ledger.DeadLetter) *queuepb.DeadLetter {
	return &queuepb.DeadLetter{
		Queue: l.Queue, Id: l.ID, DeathTime: timestamppb.New(l.Died), DeliveryCount: int32(l.Count), PublishTime: timestamppb.New(l.Published),
		Exchange: l.Exchange, RoutingKey: l.RoutingKey, Type: l.Type, Headers: l.Headers, Traceparent: l.Traceparent, Error: l.Error,
	}
}

// ListDeadLetters lists dead letters; see the contract.
func (s *Service) ListDeadLetters(ctx context.Context, r *queuepb.ListDeadLettersRequest) (*queuepb.ListDeadLettersResponse, error) {
	var of *string
	var which string
	switch {
	case r.Unroutable && r.Queue != "":
		return nil, errBoth
	case r.Unroutable || r.Queue != "":
		of, which = &r.Queue, "of"
	}
	question := pagetoken.Question("dead letters", which, r.Queue)
	from, err := pagetoken.Decode[ledger.DeadLetterKey](r.PageToken, question)
	if err != nil {
		return nil, err
	}
	before := ledger.FirstDeadLetterKey()
	if from != nil {
		before = from.Key
	}
	size := pagetoken.Size(r.PageSize, defaultPage, maxPage)
	read, err := ledger.ListDeadLetters(ctx, s.needs.DB, of, before, size+1)
	if err != nil {
		return nil, err
	}
	response := &queuepb.ListDeadLettersResponse{}
	if len(read) > size {
		read = read[:size]
		last := read[size-1]
		response.NextPageToken = pagetoken.Token[ledger.DeadLetterKey]{Key: ledger.DeadLetterKey{Died: last.Died, Queue: last.Queue, ID: last.ID}}.Encode(question)
	}
	for _, l := range read {
		response.DeadLetters = append(response.DeadLetters, message(l))
	}
	return response, nil
}

// GetDeadLetter returns a dead letter, whole; see the contract.
func (s *Service) GetDeadLetter(ctx context.Context, r *queuepb.GetDeadLetterRequest) (*queuepb.GetDeadLetterResponse, error) {
	l, err := ledger.FindDeadLetter(ctx, s.needs.DB, r.Queue, r.Id)
	if errors.Is(err, ledger.ErrDeadLetterNotFound) {
		return nil, errNoLetter
	}
	if err != nil {
		return nil, err
	}
	made := message(l)
	for _, f := range l.History {
		made.History = append(made.History, &queuepb.Failure{DeliveryCount: int32(f.Count), Time: timestamppb.New(f.At), Host: f.Host, Error: f.Error})
	}
	made.Body = s.readable(l)
	return &queuepb.GetDeadLetterResponse{DeadLetter: made}, nil
}

// readable returns a body as people read it.
func (s *Service) readable(l ledger.DeadLetter) string {
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

// which checks that a request says which dead letters it means; no ids mean all.
func which(ids []int64, all bool) ([]int64, error) {
	if all == (len(ids) > 0) {
		return nil, errWhich
	}
	return ids, nil
}

// RedriveDeadLetters delivers dead letters again; see the contract.
func (s *Service) RedriveDeadLetters(ctx context.Context, r *queuepb.RedriveDeadLettersRequest) (*queuepb.RedriveDeadLettersResponse, error) {
	ids, err := which(r.Ids, r.All)
	if err != nil {
		return nil, err
	}
	n, err := s.needs.Broker.Redrive(ctx, r.Queue, ids)
	if err != nil {
		return nil, err
	}
	s.needs.Log.Info("queue: dead letters redriven", "queue", r.Queue, "letters", n)
	return &queuepb.RedriveDeadLettersResponse{RedrivenCount: int64(n)}, nil
}

// DiscardDeadLetters deletes dead letters; see the contract.
func (s *Service) DiscardDeadLetters(ctx context.Context, r *queuepb.DiscardDeadLettersRequest) (*queuepb.DiscardDeadLettersResponse, error) {
	ids, err := which(r.Ids, r.All)
	if err != nil {
		return nil, err
	}
	n, err := ledger.DiscardDeadLetters(ctx, s.needs.DB, r.Queue, ids)
	if err != nil {
		return nil, err
	}
	s.needs.Log.Info("queue: dead letters discarded", "queue", r.Queue, "letters", n)
	return &queuepb.DiscardDeadLettersResponse{DiscardedCount: int64(n)}, nil
}
