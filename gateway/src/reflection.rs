//! gRPC's own reflection service: tools ask it what can be called, and with which messages.

use prost::Message as _;
use prost_reflect::FileDescriptor;
use proto::reflection as pb;
use proto::reflection::server_reflection_request::MessageRequest as Question;
use proto::reflection::server_reflection_response::MessageResponse as Answer;

use api::Code;

use crate::descriptors::POOL;
use crate::refusal::Refusal;
use crate::stream::Call;

/// Answers each question in turn.
pub(crate) async fn serve(mut call: Call) -> Result<(), Refusal> {
    while let Some(request) = call.inlet.next::<pb::ServerReflectionRequest>().await? {
        let answer = answer(&request);
        call.outlet.put(&pb::ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        })?;
        call.outlet.flush().await;
    }
    Ok(())
}

fn answer(request: &pb::ServerReflectionRequest) -> Answer {
    let files = match &request.message_request {
        Some(Question::FileByFilename(name)) => POOL.get_file_by_name(name),
        Some(Question::FileContainingSymbol(name)) => file_of(name),
        Some(Question::FileContainingExtension(_)) => None,
        Some(Question::AllExtensionNumbersOfType(name)) => match POOL.get_message_by_name(name) {
            Some(_) => {
                return Answer::AllExtensionNumbersResponse(pb::ExtensionNumberResponse {
                    base_type_name: name.clone(),
                    extension_number: Vec::new(),
                });
            }
            None => None,
        },
        Some(Question::ListServices(_)) => return services(),
        None => return error(Code::InvalidArgument, "there is no question"),
    };
    match files {
        Some(file) => Answer::FileDescriptorResponse(with_imports(&file)),
        None => error(Code::NotFound, "there is no such file or symbol"),
    }
}

fn services() -> Answer {
    let mut service: Vec<pb::ServiceResponse> =
        POOL.services().map(|service| pb::ServiceResponse { name: service.full_name().to_owned() }).collect();
    service.sort_by(|one, other| one.name.cmp(&other.name));
    Answer::ListServicesResponse(pb::ListServiceResponse { service })
}

/// The file that says what a name is: of a service or its method, a message or its field, an enumeration or its value.
fn file_of(name: &str) -> Option<FileDescriptor> {
    let whole = |name: &str| {
        POOL.get_service_by_name(name)
            .map(|service| service.parent_file())
            .or_else(|| POOL.get_message_by_name(name).map(|message| message.parent_file()))
            .or_else(|| POOL.get_enum_by_name(name).map(|kind| kind.parent_file()))
    };
    whole(name).or_else(|| whole(name.rsplit_once('.')?.0))
}

/// A file and all that it imports, so that nobody has to ask for them one by one.
fn with_imports(file: &FileDescriptor) -> pb::FileDescriptorResponse {
    let mut files = vec![file.clone()];
    let mut at = 0;
    while let Some(file) = files.get(at).cloned() {
        at += 1;
        for import in file.dependencies() {
            if !files.contains(&import) {
                files.push(import);
            }
        }
    }
    let encoded = files.iter().map(|file| file.file_descriptor_proto().encode_to_vec().into());
    pb::FileDescriptorResponse { file_descriptor_proto: encoded.collect() }
}

fn error(code: Code, text: &str) -> Answer {
    Answer::ErrorResponse(pb::ErrorResponse { error_code: code as i32, error_message: text.to_owned() })
}
