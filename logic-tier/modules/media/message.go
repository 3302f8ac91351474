package media

import (
	"encoding/hex"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// message returns an upload as the contract has it.
func (u upload) message() *mediapb.Upload {
	m := &mediapb.Upload{
		Name: "uploads/" + u.id, Offset: u.file.size, FileName: u.fileName, ContentType: u.contentType,
		Whole: u.file.whole(), Sha256: hex.EncodeToString(u.file.sha256),
		CreateTime: timestamppb.New(u.created), ExpireTime: timestamppb.New(u.expires),
	}
	if u.size > 0 {
		m.Size = proto.Int64(u.size)
	}
	return m
}

// message returns a file as the contract has it.
func (n named) message() *mediapb.File {
	return &mediapb.File{
		Name: n.name.String(), Size: n.size, ContentType: n.contentType, Sha256: hex.EncodeToString(n.sha256),
		FileName: n.fileName, UpdateTime: timestamppb.New(n.updated),
	}
}

// message returns a recording as the contract has it.
func (r recording) message() *mediapb.Recording {
	m := &mediapb.Recording{Name: "recordings/" + r.id, LeftOut: r.leftOut}
	if r.duration > 0 {
		m.Duration = durationpb.New(r.duration)
	}
	for _, f := range r.renditions {
		m.Renditions = append(m.Renditions, &mediapb.Recording_Rendition{
			File: m.Name + "/" + f.name, ContentType: f.contentType, Size: f.size, Width: int32(f.width), Height: int32(f.height),
		})
	}
	if r.poster {
		m.Poster = m.Name + "/" + poster
	}
	return m
}
