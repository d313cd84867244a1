//! What a tenant can leave at an MCP server by its tools, and ask for again.

use ids::BoxFuture;
use serde_json::Value;

use super::{Mcp, Message, answer, done, pick};
use crate::{
    catalog::Surface,
    drive::app::{Words, told, uuid},
    lab::{Caller, Lab},
    place::{Place, Planted, Twist},
    target::Call,
    verdict::Halt,
    wire::Exchange,
};

/// What leads to a record.
const HANDLES: [&str; 2] = ["id", "name"];

/// How a record is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a tool.
    Tool(Call),
    /// As a resource of this URI.
    Resource(String),
}

/// Records, left by a tool.
pub(crate) struct Records<'a> {
    mcp: &'a Mcp<'a>,
    plant: &'a Call,
    way: Way,
    /// The id of the message that leaves one, where it is to be that and no other.
    id: Option<Value>,
}

impl<'a> Records<'a> {
    /// If the file says how a record is left and read.
    pub(crate) fn of(mcp: &'a Mcp<'a>) -> Option<Self> {
        let (plant, way) = (mcp.server.plant.as_ref()?, mcp.ways().into_iter().next()?);
        Some(Self { mcp, plant, way, id: None })
    }

    /// Left by messages of this id.
    pub(crate) fn by(self, id: Value) -> Self {
        Self { id: Some(id), ..self }
    }
}

impl Way {
    /// In the report.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Tool(call) => &call.tool,
            Self::Resource(uri) => uri,
        }
    }
}

impl Mcp<'_> {
    /// The ways that the file names, of which the first is the one that everything is tried by.
    pub(crate) fn ways(&self) -> Vec<Way> {
        let tools = self.server.read.iter().chain(&self.server.tools).cloned().map(Way::Tool);
        tools.chain(self.server.resource.iter().cloned().map(Way::Resource)).collect()
    }

    /// What asks for a record in this way.
    pub(crate) fn asking(&self, way: &Way, words: &Words) -> Result<Message, Halt> {
        match way {
            Way::Tool(call) => self.calling(call, words),
            Way::Resource(uri) => self.reading(uri, words),
        }
    }

    /// Leaves a text, in the name of `by`.
    pub(crate) async fn plant(
        &self,
        lab: &Lab,
        by: &Caller,
        (plant, text): (&Call, &str),
        rpc: Option<&Value>,
    ) -> Result<Planted, Halt> {
        let mut words = Words::of(lab, by).with("canary", text);
        // Where the caller chooses the id, it is a new one.
        if plant.wants("id") {
            words.put("id", &uuid());
        }
        let mut message = self.calling(plant, &words)?;
        if let Some(id) = rpc {
            message = message.id(id.clone());
        }
        let exchange = self.send(lab, by, &message, &Twist::none()).await?;
        let result = done(&exchange)?;
        if let Some(at) = &plant.id {
            let found = pick(&result, at);
            let id = found.as_ref().and_then(answer::text);
            let Some((id, found)) = id.zip(found) else {
                return Err(Halt::Failed(format!("no id at `{at}`: {}", told(&exchange))));
            };
            self.learn(&found);
            words.put("id", &id);
        }
        let handles = HANDLES.iter().filter(|name| **name == "id" || plant.wants(name));
        let handles =
            handles.filter_map(|name| Some(((*name).to_owned(), words.get(name)?.into())));
        Ok(Planted { text: text.to_owned(), handles: handles.collect(), exchange })
    }

    /// Removes what leads there by these handles, if the file says how.
    pub(crate) async fn remove(
        &self,
        lab: &Lab,
        by: &Caller,
        planted: &Planted,
    ) -> Result<Option<Exchange>, Halt> {
        let Some(remove) = &self.server.remove else { return Ok(None) };
        let words = Words::of(lab, by).with_all(&planted.handles);
        self.call(lab, by, (remove, &words), &Twist::none()).await.map(Some)
    }
}

impl Place for Records<'_> {
    fn name(&self) -> &str {
        "records"
    }

    fn surface(&self) -> Surface {
        Surface::Tools
    }

    fn remembers(&self) -> bool {
        true
    }

    fn by_id(&self) -> bool {
        match &self.way {
            Way::Tool(call) => HANDLES.iter().any(|name| call.wants(name)),
            Way::Resource(_) => true,
        }
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        Box::pin(self.mcp.plant(lab, by, (self.plant, text), self.id.as_ref()))
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(async move {
            let words = Words::of(lab, by).with_all(&planted.handles).with_all(&twist.words);
            let message = self.mcp.asking(&self.way, &words)?;
            self.mcp.send(lab, by, &message, twist).await
        })
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(self.mcp.remove(lab, by, planted))
    }
}
