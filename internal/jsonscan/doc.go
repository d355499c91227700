// Package jsonscan walks JSON text that is in memory, without making values
// of it: for streams and files in which a few members of many are of interest.
//
//	s := jsonscan.New(line)
//	for s.Object(); s.Member(&key); {
//		switch string(key) {
//		case "id":
//			id, _ = s.Text()
//		default:
//			s.Skip()
//		}
//	}
//	err := s.End()
//
// It is strict about the structure that it walks. Of what it skips it checks
// that brackets and strings close, not how numbers are spelled. The first
// fault stays, and after it nothing more is found.
package jsonscan
